-- Opens the bus for this server process: epochs, cursors and the opening itself in one step.
local bus, open, epochs, high_water, cursor = unpack(KEYS)
local server, epoch, head, seal = unpack(ARGV, 1, 4)

if string.match(redis.call('INFO', 'server'), '\nrun_id:(%x+)') ~= server then
  return {'closed', 'the server restarted while it was being opened'}
end
for i = 5, #ARGV, 2 do redis.call('HSET', epochs, ARGV[i], ARGV[i + 1]) end

-- A cursor says at least that the outputs of that entry are in the journal.
local marks = redis.call('HGETALL', high_water)
for i = 1, #marks, 2 do
  if not string.find(marks[i], '/', 1, true)
    and tonumber(marks[i + 1]) > tonumber(redis.call('HGET', cursor, marks[i]) or '0') then
    redis.call('HSET', cursor, marks[i], marks[i + 1])
  end
end

redis.call('HSET', bus, 'epoch', epoch, 'head', head, 'memory', 'watch', 'seal', seal)
redis.call('SET', open, server)
return {'ok'}
