-- Accept messages, in order. KEYS: the base key of each recipient, or of whoever takes it in their place. ARGV: 1 bound of an inbox, 2 milliseconds a dedup
-- name is known, 3 bound of waiting messages, 4 bound of what waits for the archive, 5 bound of one sender's waiting
-- messages, kept once there are half as many of anybody's; half of 3 where somebody takes it now; then FIELDS of each
-- message:
-- 1 the caller's time, 2 id, 3 dedup name or '', 4 message, 5 expires, 6 audience, 7 named endpoint,
-- 8 flags '0' or '1': stored, address to be marked as due, archived, sender's other clients get a copy, also when it is
-- dropped, 9 sender, 10 sender's endpoint; at the end link key, number of this call, whether it is sent again.
-- Returns for each {status, due, endpoint...}: L live, S stored, X dropped, D duplicate, F full, M too many of the
-- sender's, or too much waits; or what went wrong.
local ARCHIVE = 't:archive'
local FIELDS, YES = 10, 49
local LARGE = 16384 -- bytes of a message that is weighed
local LARGE_BOUND = 4194304 -- bytes of such messages that may wait; of one sender, half of it
local CROWD_KEPT = 604800000 -- milliseconds it is remembered what a sender sent while many waited

local dedup_time, pending_bound, archive_bound, sender_bound
local archive_room -- nil until it is looked up
local accepted -- microseconds; only orders

local function as_then(id)
  local stored, answer = call('HGET', base .. ':pending', id), { 'L', 0 }
  if stored then
    local _, owed = unpack_one(stored)
    for i = STATES, #owed, 2 do
      answer[#answer + 1] = owed[i]
    end
    answer[1] = #answer > 2 and 'L' or 'S'
  end
  return answer
end

-- One envelope per node for XMPP endpoints the message was not addressed to.
local function post_copies(message, found, copies, sent)
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

local function copy(message, sender, sending, endpoints, ids, chosen)
  local own_base = 't:{' .. sender .. '}'
  local to_self = own_base == base
  if #ids > #chosen then
    local addressed, copies = {}, {}
    for _, endpoint in ipairs(chosen) do
      addressed[endpoint] = true
    end
    for _, other in ipairs(ids) do
      local endpoint = endpoints[other]
      if endpoint[4] == 'xmpp' and not addressed[other] and live(endpoint[1])
        and not (to_self and other == sending) then
        copies[#copies + 1] = other
      end
    end
    post_copies(message, endpoints, copies, false)
  end
  if to_self then
    return
  end
  local key, found, own = own_base .. ':endpoints', {}, {}
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
    post_copies(message, found, own, true)
  end
end

-- As many of the sender's wait as may. What was settled meanwhile is taken out only now.
local function too_many(crowd, pending, most)
  if call('SCARD', crowd) < most then
    return false
  end
  for _, id in ipairs(call('SMEMBERS', crowd)) do
    if call('HEXISTS', pending, id) == 0 then
      call('SREM', crowd, id)
    end
  end
  return call('SCARD', crowd) >= most
end

-- Whether with one more of so many bytes too much waits. `prune`: what was settled meanwhile is taken out.
local function heavy(large, pending, size, sender, prune)
  local flat, all, theirs = call('HGETALL', large), size, size
  for i = 1, #flat, 2 do
    if prune and call('HEXISTS', pending, flat[i]) == 0 then
      call('HDEL', large, flat[i])
    else
      local weight, whose = string.match(flat[i + 1], '^(%d+) (.*)$')
      all = all + tonumber(weight)
      theirs = theirs + (whose == sender and tonumber(weight) or 0)
    end
  end
  return all > LARGE_BOUND or theirs > LARGE_BOUND / 2
end

local function new_head(expires, audience, named, chosen)
  if #chosen == 1 then -- the usual, without a table
    return '\151' .. pack(accepted, now, expires, audience, named, chosen[1], 'o')
  end
  local owed = { accepted, now, expires, audience, named }
  for _, target in ipairs(chosen) do
    owed[#owed + 1], owed[#owed + 2] = target, 'o'
  end
  return pack(owed)
end

local function accept(id, dedup, message, expires, audience, named, flags, sender, sending)
  local pending, seen = base .. ':pending', nil
  if dedup ~= '' then
    seen = base .. ':seen:' .. dedup
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
  local store, mark, kept, copied, anyway = string.byte(flags, 1, 5)
  store, mark, kept, copied = store == YES, mark == YES, kept == YES, copied == YES
  local address = string.sub(base, 4, -2)
  local waiting = store and call('HLEN', pending) or 0
  if waiting >= pending_bound then
    drive(address, endpoints, ids, {}, {}, {}, false) -- what has expired makes room
    waiting = call('HLEN', pending)
    if waiting >= pending_bound then
      return { 'F', 0 }
    end
  end
  local chosen = targets(endpoints, ids, audience, named)
  local crowd = store and waiting * 2 >= sender_bound and base .. ':from:' .. sender
  if crowd and too_many(crowd, pending, #chosen > 0 and pending_bound / 2 or sender_bound) then
    return { 'M', 0 }
  end
  local large = store and #message > LARGE and base .. ':large'
  if large and heavy(large, pending, #message, sender, false) and heavy(large, pending, #message, sender, true) then
    return { 'M', 0 }
  end
  if kept then
    archive_room = archive_room or archive_bound - call('XLEN', ARCHIVE)
    if archive_room <= 0 then
      return { 'F', 0 }
    end
  end

  local answer = { #chosen > 0 and 'L' or (store and 'S' or 'X'), 0, unpack(chosen) }
  if store then
    if call('HSETNX', pending, id, new_head(tonumber(expires), audience, named, chosen) .. message) == 0 then
      return as_then(id) -- the same message once more
    end
    if crowd then
      call('SADD', crowd, id)
      call('PEXPIRE', crowd, CROWD_KEPT)
    end
    if large then
      call('HSET', large, id, #message .. ' ' .. sender)
      call('PEXPIRE', large, CROWD_KEPT)
    end
    if #chosen > 0 and mark then
      if call('ZADD', 't:due:messages', 'NX', now + OVERDUE, address) == 1 then
        answer[2] = now + OVERDUE
      else
        answer[2] = call('ZSCORE', 't:due:messages', address)
      end
    end
  end
  if seen then
    call('SET', seen, pack({ now + tonumber(dedup_time), id, answer[1], unpack(chosen) }), 'PX', dedup_time)
  end
  if #chosen > 0 then
    deliver(message, endpoints, chosen, false)
  end
  if kept and answer[1] ~= 'X' then
    call('XADD', ARCHIVE, '*', '1', message)
    archive_room = archive_room - 1
  end
  if copied and (answer[1] ~= 'X' or anyway == YES) then
    copy(message, sender, sending, endpoints, ids, chosen)
  end
  return answer
end

register('submit', function(keys, argv)
  begin(argv[1])
  dedup_time, pending_bound, archive_bound, archive_room = argv[2], tonumber(argv[3]), tonumber(argv[4]), nil
  sender_bound = tonumber(argv[5])
  local last, answers = #argv, {}
  local done = done_before(argv[last - 2], argv[last - 1], argv[last])
  local time = call('TIME')
  accepted = time[1] * 1000000 + time[2]
  for i, key in ipairs(keys) do
    local first, well, answer = 6 + (i - 1) * FIELDS, nil, nil
    at(key, argv[first])
    if done then
      well, answer = pcall(as_then, argv[first + 1])
    else
      well, answer = pcall(accept, unpack(argv, first + 1, first + FIELDS - 1))
    end
    answers[i] = well and answer or failure(answer)
    accepted = accepted + 1
  end
  send_out()
  return answers
end)
