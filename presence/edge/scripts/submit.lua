-- Accept a message. ARGV: 3 address, 4 id, 5 dedup key or '', 6 its milliseconds, 7 message, 8 expires, 9 audience,
-- 10 named endpoint, 11 store, 12 bound of waiting messages, 13 mark the address as due, 14 bound of what waits for the
-- archive, or 0: it does not belong there, 15 sender whose other clients get a copy, or '', 16 sender's endpoint,
-- 17 link key, 18 number of this call, 19 it is sent again.
-- Returns {status, due, endpoint...}: L live, S stored, X dropped, D duplicate, F full.
local ARCHIVE = 't:archive'
local address, id, message = ARGV[3], ARGV[4], ARGV[7]
local pending = base .. ':pending'

local function as_then()
  local stored, answer = call('HGET', pending, id), { 'L', 0 }
  if stored then
    local owed = split(stored)
    for i = STATES, #owed, 2 do
      answer[#answer + 1] = owed[i]
    end
    answer[1] = #answer > 2 and 'L' or 'S'
  end
  return answer
end
-- One envelope per node for XMPP endpoints the message was not addressed to.
local function post_copies(found, copies, sent)
  local by_node = {}
  for _, endpoint in ipairs(copies) do
    local node = found[endpoint][3]
    if by_node[node] then
      by_node[node][#by_node[node] + 1] = endpoint
    else
      by_node[node] = { endpoint }
    end
  end
  for node, listed in pairs(by_node) do
    post(node, '\132\164type\164copy\167message' .. message .. '\169endpoints' .. pack(listed)
      .. '\164sent' .. (sent and '\195' or '\194'))
  end
end

local function copy(sender, sending, endpoints, ids, chosen)
  local copies = {}
  if #ids > #chosen then
    local addressed = {}
    for _, endpoint in ipairs(chosen) do
      addressed[endpoint] = true
    end
    for _, other in ipairs(ids) do
      local endpoint = endpoints[other]
      if endpoint[4] == 'xmpp' and not addressed[other] and live(endpoint[1])
        and not (sender == address and other == sending) then
        copies[#copies + 1] = other
      end
    end
    post_copies(endpoints, copies, false)
  end
  if sender == address then
    return
  end
  local key, found, own = 't:{' .. sender .. '}:endpoints', {}, {}
  for _, other in ipairs(call('HKEYS', key)) do
    if other ~= sending and string.sub(other, 1, 5) == 'xmpp:' then
      local endpoint = cmsgpack.unpack(call('HGET', key, other))
      if live(endpoint[1]) then
        found[other], own[#own + 1] = endpoint, other
      end
    end
  end
  if #own > 0 then
    table.sort(own)
    post_copies(found, own, true)
  end
end

if done_before(ARGV[17], ARGV[18], ARGV[19]) then
  return as_then()
end

local seen = ARGV[5] ~= '' and base .. ':seen:' .. ARGV[5]
if seen then
  local earlier = call('GET', seen)
  if earlier then
    earlier = cmsgpack.unpack(earlier)
    if earlier[1] > now then
      local answer = { earlier[2] == id and earlier[3] or 'D', 0 }
      for i = 4, #earlier do
        answer[#answer + 1] = earlier[i]
      end
      return answer
    end
  end
end

local endpoints, ids = read_endpoints()
local store = ARGV[11] == '1'
if store and call('HLEN', pending) >= tonumber(ARGV[12]) then
  drive(address, endpoints, ids, {}, {}, {}, false) -- what has expired makes room
  if call('HLEN', pending) >= tonumber(ARGV[12]) then
    return { 'F', 0 }
  end
end

local kept = ARGV[14] ~= '0'
if kept and call('XLEN', ARCHIVE) >= tonumber(ARGV[14]) then
  return { 'F', 0 }
end

local chosen = targets(endpoints, ids, ARGV[9], ARGV[10])
local answer = { #chosen > 0 and 'L' or (store and 'S' or 'X'), 0, unpack(chosen) }
if store then
  local time = call('TIME')
  local owed = { time[1] * 1000000 + time[2], now, tonumber(ARGV[8]), ARGV[9], ARGV[10] }
  for _, target in ipairs(chosen) do
    owed[#owed + 1], owed[#owed + 2] = target, 'o'
  end
  if call('HSETNX', pending, id, pack(owed) .. message) == 0 then
    return as_then() -- the same message once more
  end
  if #chosen > 0 and ARGV[13] == '1' then
    if call('ZADD', 't:due:messages', 'NX', now + OVERDUE, address) == 1 then
      answer[2] = now + OVERDUE
    else
      answer[2] = call('ZSCORE', 't:due:messages', address)
    end
  end
end
if seen then
  call('SET', seen, pack({ now + tonumber(ARGV[6]), id, answer[1], unpack(chosen) }), 'PX', ARGV[6])
end
if #chosen > 0 then
  deliver(message, endpoints, chosen, false)
end
if kept and answer[1] ~= 'X' then
  call('XADD', ARCHIVE, '*', '1', message)
end
if ARGV[15] ~= '' then
  copy(ARGV[15], ARGV[16], endpoints, ids, chosen)
end
return answer
