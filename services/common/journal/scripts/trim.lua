-- Removes what the archive has and no service needs for its restart. `~` trims whole stream nodes, never more than asked,
-- and bounds the work of one call.
local journal, durable, fence, bus, open, epochs = unpack(KEYS)
local service, own_fence, written, margin, epoch, server = unpack(ARGV, 1, 6)
local FIRST = 7

local refusal = closed(open, bus, server, epoch) or fenced(fence, service, own_fence)
if refusal then return refusal end

local keep_after = math.min(tonumber(written), tonumber(redis.call('HGET', bus, 'head') or '0'))
for i = FIRST, #ARGV do
  local id = redis.call('HGET', durable, ARGV[i])
  keep_after = math.min(keep_after, tonumber(id and string.match(id, '%-(%d+)$') or '0'))
end
local first = keep_after - tonumber(margin) + 1
if first <= 1 then return {'ok', 0} end

local newest = 0
local pairs_of = redis.call('HGETALL', epochs)
for i = 1, #pairs_of, 2 do
  if tonumber(pairs_of[i + 1]) <= first then newest = math.max(newest, tonumber(pairs_of[i])) end
end
return {'ok', redis.call('XTRIM', journal, 'MINID', '~', string.format('%.0f-%.0f', newest, first))}
