-- The beginning of the library: what the functions that change one address share. Its base key is `t:{user@domain}`.
-- Payloads are never decoded here. Every function says `begin` and `at` first, and `send_out` last if it posts anything.

local call, pack, unpack_one -- not there yet while the library is loaded
local base -- of the address at hand
local now -- the caller's time in milliseconds
local bound -- of an inbox
local outbox -- node → field and envelope in turn
local OVERDUE = 30000

local function begin(limit)
  call, pack, unpack_one = redis.call, cmsgpack.pack, cmsgpack.unpack_one
  bound, outbox = limit, {}
end

-- From here on it is about this address.
local function at(key, time)
  base, now = key, tonumber(time)
end

local function register(name, callback, flags)
  redis.register_function({ function_name = PREFIX .. name, callback = callback, flags = flags })
end

-- A call that is sent again, because its answer was lost, was it done? Each connection numbers its calls.
local function done_before(link, number, again)
  if again == '1' and tonumber(call('GET', link) or 0) >= tonumber(number) then
    return true
  end
  call('SET', link, number, 'KEEPTTL')
  return false
end

-- What went wrong with one of many, as its answer.
local function failure(error)
  return type(error) == 'table' and error or redis.error_reply('ERR ' .. tostring(error))
end

local function live(expires)
  return expires == 0 or expires > now
end

-- Envelopes are MessagePack maps as docs/bus.md has them; the field's name is the schema number.
local function post(node, envelope)
  local posted = outbox[node]
  if posted then
    posted[#posted + 1], posted[#posted + 2] = '1', envelope
  else
    outbox[node] = { '1', envelope }
  end
end

-- Everything posted, in its order: for each node one entry, unless there is much.
local IN_ONE = 128
local function send_out()
  for node, posted in pairs(outbox) do
    local key = 't:inbox:' .. node
    for first = 1, #posted, IN_ONE do
      call('XADD', key, 'MAXLEN', '~', bound, '*', unpack(posted, first, math.min(first + IN_ONE - 1, #posted)))
    end
  end
end

-- A stored value is a MessagePack header followed by a payload.
local function split(value)
  local offset, head = unpack_one(value)
  if offset < 0 then
    return head, ''
  end
  return head, string.sub(value, offset + 1)
end

-- Values of endpoints → what they say. Most people's is the same as others' of their process; nobody changes these.
local MOST_READ = 4096
local read, read_so_far = {}, 0

-- [expires, owner, node, kind, eligible]
local function endpoint_of(value)
  local endpoint = read[value]
  if not endpoint then
    if read_so_far >= MOST_READ then
      read, read_so_far = {}, 0
    end
    endpoint = cmsgpack.unpack(value)
    read[value], read_so_far = endpoint, read_so_far + 1
  end
  return endpoint
end

-- Endpoints by id, and the ids in a stable order.
local function read_endpoints()
  local flat, found, ids = call('HGETALL', base .. ':endpoints'), {}, {}
  for i = 1, #flat, 2 do
    found[flat[i]] = endpoint_of(flat[i + 1])
    ids[#ids + 1] = flat[i]
  end
  return found, ids
end

-- Where a message goes now: the endpoint it names while that lives, else every eligible one.
local function fits(endpoint, audience)
  return live(endpoint[1]) and (audience == 'all' or endpoint[4] == audience)
end

local function targets(endpoints, ids, audience, named)
  if endpoints[named] and fits(endpoints[named], audience) then
    return { named }
  end
  local chosen = {}
  for _, id in ipairs(ids) do
    if endpoints[id][5] and fits(endpoints[id], audience) then
      chosen[#chosen + 1] = id
    end
  end
  return chosen
end

local function post_message(node, message, chosen, delayed)
  post(node, '\132\164type\167deliver\167message' .. message .. '\169endpoints' .. pack(chosen)
    .. '\167delayed' .. (delayed and '\195' or '\194'))
end

-- Nobody else is owed it.
local function post_alone(node, message, endpoint)
  post(node, '\132\164type\167deliver\167message' .. message .. '\169endpoints\145' .. pack(endpoint) .. '\164sole\195')
end

-- One envelope per node, with the endpoints it holds.
local function deliver(message, endpoints, chosen, delayed)
  local by_node, nodes = {}, {}
  for _, id in ipairs(chosen) do
    local node = endpoints[id][3]
    if not by_node[node] then
      by_node[node] = {}
      nodes[#nodes + 1] = node
    end
    by_node[node][#by_node[node] + 1] = id
  end
  for _, node in ipairs(nodes) do
    post_message(node, message, by_node[node], delayed)
  end
end

-- A pending message is a head and the message as it came. The head: [1 accepted, in microseconds of the server,
-- 2 last driven, 3 expires, 4 audience, 5 named endpoint], then endpoint and state in turn: o owed, u unreachable,
-- d delivered, r refused.
local STATES = 6

local function has(owed, state)
  for i = STATES + 1, #owed, 2 do
    if owed[i] == state then
      return true
    end
  end
  return false
end

local function forget(id)
  call('HDEL', base .. ':pending', id)
end

local function keep(id, owed, message)
  call('HSET', base .. ':pending', id, pack(owed) .. message)
end

-- Send one waiting message wherever it may go: to live targets it never went to if it waits, to an endpoint just
-- `put` that missed it, and to those in `again` that still owe an answer. Returns whether anything was sent.
local function drive_one(message, owed, endpoints, ids, put, again)
  local waits, known, chosen = not has(owed, 'o'), {}, {}
  for i = STATES, #owed, 2 do
    known[owed[i]] = i + 1
  end
  for _, target in ipairs(targets(endpoints, ids, owed[4], owed[5])) do
    local at = known[target]
    if not at and waits then
      owed[#owed + 1], owed[#owed + 2] = target, 'o'
      chosen[#chosen + 1] = target
    elseif at and owed[at] == 'u' and put[target] then
      owed[at] = 'o'
      chosen[#chosen + 1] = target
    elseif at and owed[at] == 'o' and again[target] then
      chosen[#chosen + 1] = target
    end
  end
  for target, at in pairs(known) do -- still owed, but no target any more (not eligible now)
    local endpoint = again[target] and owed[at] == 'o' and endpoints[target]
    if endpoint then
      local listed = false
      for _, other in ipairs(chosen) do
        listed = listed or other == target
      end
      if not listed then
        chosen[#chosen + 1] = target
      end
    end
  end
  if #chosen == 0 then
    return false
  end
  owed[2] = now
  deliver(message, endpoints, chosen, true)
  return true
end

-- All that waits at this address, in order of acceptance. What is owed to an endpoint in `ended` becomes
-- unreachable. `overdue` sends again what nobody settled in time. Marks the address as due while anything is owed.
local function drive(address, endpoints, ids, ended, put, again, overdue)
  local flat, all = call('HGETALL', base .. ':pending'), {}
  for i = 1, #flat, 2 do
    all[#all + 1] = { flat[i], split(flat[i + 1]) }
  end
  table.sort(all, function(a, b) return a[2][1] < b[2][1] end)
  local due = nil
  for _, entry in ipairs(all) do
    local id, owed, message, changed = entry[1], entry[2], entry[3], false
    for i = STATES, #owed, 2 do
      if owed[i + 1] == 'o' and ended[owed[i]] then
        owed[i + 1] = 'u'
        changed = true
      end
    end
    if not live(owed[3]) or (not has(owed, 'o') and has(owed, 'd')) then
      forget(id)
    else
      local mine = again
      if overdue and owed[2] + OVERDUE <= now and has(owed, 'o') then
        mine = endpoints
      end
      changed = drive_one(message, owed, endpoints, ids, put, mine) or changed
      if changed then
        keep(id, owed, message)
      end
      if has(owed, 'o') and (not due or owed[2] + OVERDUE < due) then
        due = owed[2] + OVERDUE
      end
    end
  end
  if due then
    call('ZADD', 't:due:messages', 'NX', due, address)
  end
end
