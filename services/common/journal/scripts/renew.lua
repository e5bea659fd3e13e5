-- Prolongs a lease, also one that ran out while nobody else wanted it or that went with Redis' lost tail.
local lease, fence = unpack(KEYS)
local service, holder, own, ttl_ms = unpack(ARGV)

local refusal = fenced(fence, service, own)
if refusal then return refusal end
local mine = own .. ':' .. holder
local held = redis.call('GET', lease)
if held and held ~= mine then return {'fence_lost', held} end
redis.call('SET', lease, mine, 'PX', ttl_ms)
return {'ok'}
