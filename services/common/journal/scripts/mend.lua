-- Takes away what stands in the stream beyond the head: no publish has put it there. The stream is copied up to its
-- head and takes the place of the old one, since a stream's end cannot be set back over entries that were deleted.
local journal, copy, bus, epochs = unpack(KEYS)
local head = tonumber(redis.call('HGET', bus, 'head') or '0')
local epoch = 0
local known = redis.call('HGETALL', epochs)
for i = 1, #known, 2 do
  local number, first = tonumber(known[i]), tonumber(known[i + 1])
  if first <= head and number > epoch then epoch = number end
end
if head == 0 or epoch == 0 then return {'unknown', '0-0', 0} end
local last = string.format('%.0f-%.0f', epoch, head)

local foreign = redis.call('XRANGE', journal, '(' .. last, '+')
if #foreign == 0 then return {'whole', last, 0} end
if #redis.call('XRANGE', journal, last, last) == 0 then return {'short', last, #foreign} end

redis.call('DEL', copy)
local from = '-'
while true do
  local page = redis.call('XRANGE', journal, from, last, 'COUNT', 500)
  if #page == 0 then break end
  for _, entry in ipairs(page) do redis.call('XADD', copy, entry[1], unpack(entry[2])) end
  from = '(' .. page[#page][1]
end
redis.call('RENAME', copy, journal)
return {'mended', last, #foreign, foreign}
