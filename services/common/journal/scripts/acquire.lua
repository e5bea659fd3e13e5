-- Takes a service's lease when it is free, or when its holder is the caller's own earlier process.
local lease, fence, bus = unpack(KEYS)
local service, holder, ttl_ms = unpack(ARGV)
local FENCES_PER_EPOCH = 1048576

local held = redis.call('GET', lease)
if held and string.match(held, '^%d+:(.*)$') ~= holder then
  return {'held', held, redis.call('PTTL', lease)}
end
-- What was given in a tail that Redis lost must not be given again: whatever Redis loses, a new epoch begins.
local given = tonumber(redis.call('HGET', fence, service) or '0')
local earlier = (tonumber(redis.call('HGET', bus, 'epoch') or '1') - 1) * FENCES_PER_EPOCH
local own = string.format('%.0f', math.max(given, earlier) + 1)
redis.call('HSET', fence, service, own)
redis.call('SET', lease, own .. ':' .. holder, 'PX', ttl_ms)
return {'acquired', own}
