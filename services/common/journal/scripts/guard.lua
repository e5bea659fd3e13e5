-- Shared by the scripts that write for a service. A reply that is not nil refuses the call; nothing was written then.

local function not_as_seen(open_key, server, epoch_now, epoch)
  if redis.call('GET', open_key) ~= server then
    return {'closed', 'the bus was closed since this connection looked'}
  end
  if epoch_now ~= epoch then
    return {'closed', 'a new epoch has begun since this connection looked'}
  end
  return nil
end

local function closed(open_key, bus_key, server, epoch)
  return not_as_seen(open_key, server, redis.call('HGET', bus_key, 'epoch'), epoch)
end

local function fenced(fence_key, service, own)
  local given = tonumber(redis.call('HGET', fence_key, service) or '0')
  local mine = tonumber(own)
  if mine == nil or mine < given then
    return {'fence_lost', string.format('%.0f', given)}
  end
  if mine > given then
    -- Redis lost the tail in which this fence was given. Fences only grow, so the caller still holds the newest one.
    redis.call('HSET', fence_key, service, own)
  end
  return nil
end
