-- Puts archived events back with their own ids, and with each what a restart needs to know of it: events, high-water
-- marks and last ids cannot come apart, also when this is interrupted.
local journal, high_water, last_id, bus = unpack(KEYS)

for i = 1, #ARGV, 8 do
  local id, channel, producer, cause, field, number, run_id, data = unpack(ARGV, i, i + 7)
  redis.call('XADD', journal, id, 'data', data, 'channel', channel, 'producer', producer, 'cause', cause)
  redis.call('HSET', last_id, channel, id)
  redis.call('HSET', bus, 'head', string.match(id, '%-(%d+)$'))
  if field ~= '' and tonumber(number) > tonumber(redis.call('HGET', high_water, field) or '0') then
    redis.call('HSET', high_water, field, number)
  end
  if run_id ~= '' then redis.call('HSET', bus, 'run_id', run_id) end
end
return #ARGV / 8
