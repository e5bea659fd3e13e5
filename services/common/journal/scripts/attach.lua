-- What a connection must know before it may do anything else.
local open, bus, epochs = unpack(KEYS)
local server = string.match(redis.call('INFO', 'server'), '\nrun_id:(%x+)')
local state = redis.call('HMGET', bus, 'epoch', 'head', 'seal')
return {server, redis.call('GET', open) or '', state[1] or '0', state[2] or '0', redis.call('HGETALL', epochs),
  state[3] or ''}
