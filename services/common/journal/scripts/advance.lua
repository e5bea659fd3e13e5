-- Says that a service has handled everything up to n. The cursor never goes back: a restarted service that handles
-- old entries again repeats outputs that the journal already has.
local cursor, fence, bus, open = unpack(KEYS)
local service, own_fence, n, epoch, server, turnstile = unpack(ARGV)

local refusal = closed(open, bus, server, epoch) or fenced(fence, service, own_fence)
if refusal then return refusal end
if tonumber(n) > tonumber(redis.call('HGET', bus, 'head') or '0') then
  return {'lost', n .. ' is beyond the head'}
end
if tonumber(n) > tonumber(redis.call('HGET', cursor, service) or '0') then
  redis.call('HSET', cursor, service, n)
  if turnstile == '1' then redis.call('PUBLISH', 'turnstile', service .. ' ' .. n) end
end
return {'ok'}
