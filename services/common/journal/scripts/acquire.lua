-- Takes a service's lease when it is free, or when its holder is the caller's own earlier process.
local lease, fence, high_water = unpack(KEYS)
local service, holder, ttl_ms = unpack(ARGV)

local held = redis.call('GET', lease)
if held and string.match(held, '^%d+:(.*)$') ~= holder then
  return {'held', held, redis.call('PTTL', lease)}
end
-- Announcements are numbered by fences, and their high-water mark outlives a lost tail of Redis (it is archived).
local given = tonumber(redis.call('HGET', fence, service) or '0')
local announced = tonumber(redis.call('HGET', high_water, service .. '/announce') or '0')
local own = string.format('%.0f', math.max(given, announced) + 1)
redis.call('HSET', fence, service, own)
redis.call('SET', lease, own .. ':' .. holder, 'PX', ttl_ms)
return {'acquired', own}
