-- Notes the id of a service's newest snapshot that is safe on disk.
local durable, fence, bus, open = unpack(KEYS)
local service, own_fence, id, epoch, server = unpack(ARGV)

local refusal = closed(open, bus, server, epoch) or fenced(fence, service, own_fence)
if refusal then return refusal end
redis.call('HSET', durable, service, id)
return {'ok'}
