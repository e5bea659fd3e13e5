-- Drops a stream that the archive has left far behind, so that it can be filled afresh.
local journal, bus = unpack(KEYS)
redis.call('HSET', bus, 'head', '0')
return redis.call('DEL', journal)
