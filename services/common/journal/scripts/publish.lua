-- Appends all outputs of one cause to the journal, exactly once, and publishes them.
--
-- Ids are `<epoch>-<n>` written out rather than Redis' own `<epoch>-*`: that form restarts n with every epoch, and
-- n has to stay contiguous over all of them.
local journal, high_water, cursor, last_id, fence, bus, open = unpack(KEYS)
local producer, own_fence, source, number, epoch, server, class, turnstile, run_id = unpack(ARGV, 1, 9)
local FIRST = 10

local CHANNELS = {market_data = true, signals = true, orders = true, order_results = true, alerts = true,
  risk_decisions = true, control = true}
local MAX_EVENT_BYTES = 1048576
local MAX_BATCH_BYTES = 16777216
-- Whose messages carry a seal, so that a consumer need not ask the stream whether they stand there.
local SEALED = {orders = true, risk_decisions = true, order_results = true, control = true}
local CHECK_MEMORY_EVERY = 32
local CHECK_MEMORY_BYTES = 65536

-- 1. Everything that can refuse the batch comes before the first write: Lua has no rollback.

local epoch_now, head_text, level, secret = unpack(redis.call('HMGET', bus, 'epoch', 'head', 'memory', 'seal'))
local refusal = not_as_seen(open, server, epoch_now, epoch)
if refusal then return refusal end

if own_fence ~= '' then
  refusal = fenced(fence, producer, own_fence)
  if refusal then return refusal end
elseif producer ~= 'operator' then
  return {'rejected', 'only the operator publishes without a lease'}
end

local head = tonumber(head_text or '0')
level = level or 'calm'

local field, cause = producer, ''
if number ~= '' then
  local value = tonumber(number)
  if source ~= '' then
    field = producer .. '/' .. source
    cause = source .. ':' .. number
  else
    cause = number
    if value > head then
      return {'lost', 'cause ' .. number .. ' is beyond the head ' .. string.format('%.0f', head)}
    end
  end
  if value <= tonumber(redis.call('HGET', high_water, field) or '0') then
    return {'repeated', 0, head, level}
  end
elseif producer ~= 'operator' then
  return {'rejected', 'only the operator publishes without a cause'}
end

local count, bytes = 0, 0
for i = FIRST, #ARGV, 2 do
  local channel, data = ARGV[i], ARGV[i + 1]
  if not CHANNELS[channel] then
    return {'rejected', 'unknown channel ' .. tostring(channel)}
  end
  if not data or string.sub(data, 1, 2) ~= '{"' or string.sub(data, -1) ~= '}' then
    return {'rejected', 'an event on ' .. channel .. ' is not a JSON object'}
  end
  if #data > MAX_EVENT_BYTES then
    return {'rejected', 'an event on ' .. channel .. ' has ' .. #data .. ' bytes'}
  end
  count = count + 1
  bytes = bytes + #data
end
if count == 0 then return {'rejected', 'a batch without events'} end
if bytes > MAX_BATCH_BYTES then return {'rejected', 'a batch of ' .. bytes .. ' bytes'} end

-- Asking for memory costs more than appending an entry, so while all is calm it is done now and then.
local before = level
local due = math.floor((head + count) / CHECK_MEMORY_EVERY) > math.floor(head / CHECK_MEMORY_EVERY)
if level ~= 'calm' or due or bytes >= CHECK_MEMORY_BYTES then
  local info = redis.call('INFO', 'memory')
  local limit = tonumber(string.match(info, '\nmaxmemory:(%d+)'))
  local used = tonumber(string.match(info, '\nused_memory:(%d+)'))
    - tonumber(string.match(info, '\nmem_not_counted_for_evict:(%d+)') or '0')
  if limit == 0 or used < 0.6 * limit then
    level = 'calm'
  elseif used < 0.7 * limit then
    level = 'watch'
  elseif used < 0.8 * limit then
    level = 'market_data'
  else
    level = 'entries'
  end
  if level ~= before then redis.call('HSET', bus, 'memory', level) end
end
if (class == 'market_data' and (level == 'market_data' or level == 'entries'))
  or (class == 'entry' and level == 'entries') then
  return {'refused', level}
end

-- 2. Append. If the very first id is taken, head and stream contradict each other and nothing has been written yet.

local n = head
local ids = {}
for i = FIRST, #ARGV, 2 do
  n = n + 1
  local id = epoch .. '-' .. string.format('%.0f', n)
  ids[#ids + 1] = id
  local reply = redis.pcall('XADD', journal, id,
    'data', ARGV[i + 1], 'channel', ARGV[i], 'producer', producer, 'cause', cause)
  if type(reply) == 'table' and reply['err'] then
    if n == head + 1 then return {'rejected', 'id ' .. id .. ': ' .. reply['err']} end
    return redis.error_reply('a batch was cut at id ' .. id .. ': ' .. reply['err'])
  end
end

-- 3. What a restart needs to know.

if run_id == '' then
  redis.call('HSET', bus, 'head', string.format('%.0f', n))
else
  redis.call('HSET', bus, 'head', string.format('%.0f', n), 'run_id', run_id)
end
if number ~= '' then redis.call('HSET', high_water, field, number) end
local handled = number ~= '' and source == ''
if handled and tonumber(redis.call('HGET', cursor, producer) or '0') < tonumber(number) then
  redis.call('HSET', cursor, producer, number)
end
local previous = {}
local messages = {}
for i = FIRST, #ARGV, 2 do
  local channel, id = ARGV[i], ids[(i - FIRST) / 2 + 1]
  local last = previous[channel] or redis.call('HGET', last_id, channel) or '0-0'
  local data, seal = ARGV[i + 1], ''
  if secret and SEALED[channel] then
    seal = '"seal":"' .. redis.sha1hex(secret .. id .. ' ' .. channel .. ' ' .. cause .. ' ' .. data .. secret) .. '",'
  end
  messages[#messages + 1] = '{"journal_id":"' .. id .. '","previous_id":"' .. last .. '","cause":"' .. cause .. '",'
    .. seal .. string.sub(data, 2)
  previous[channel] = id
end
for channel, id in pairs(previous) do redis.call('HSET', last_id, channel, id) end

-- 4. The fast path.

for i = FIRST, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], messages[(i - FIRST) / 2 + 1]) end
if handled and turnstile == '1' then redis.call('PUBLISH', 'turnstile', producer .. ' ' .. number) end

return {'new', count, n, level}
