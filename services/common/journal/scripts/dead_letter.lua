-- Keeps what was refused, and counts it.
local letters, counts = unpack(KEYS)
local limit, service, channel, reason, size, raw = unpack(ARGV)
redis.call('HINCRBY', counts, channel, 1)
return redis.call('XADD', letters, 'MAXLEN', '~', limit, '*',
  'service', service, 'channel', channel, 'reason', reason, 'size', size, 'raw', raw)
