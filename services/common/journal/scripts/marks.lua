-- Restores what the whole archive says of high-water marks and last ids. This comes before the first copied event, so
-- that an interrupted recovery can go on from the copied events alone.
local high_water, last_id, bus = unpack(KEYS)
local run_id, count = unpack(ARGV, 1, 2)
local at = 3

for _ = 1, tonumber(count) do
  if tonumber(ARGV[at + 1]) > tonumber(redis.call('HGET', high_water, ARGV[at]) or '0') then
    redis.call('HSET', high_water, ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
for i = at, #ARGV, 2 do redis.call('HSET', last_id, ARGV[i], ARGV[i + 1]) end
if run_id ~= '' then redis.call('HSET', bus, 'run_id', run_id) end
return count
