-- Gives a lease back, if it is still the caller's.
local lease = KEYS[1]
if redis.call('GET', lease) ~= ARGV[1] then return 0 end
return redis.call('DEL', lease)
