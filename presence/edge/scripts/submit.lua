-- Accept messages, in order. KEYS: the base key of each recipient, or of whoever takes it in their place. ARGV: 1 bound of an inbox, 2 the caller's time,
-- 3 milliseconds a dedup name is known, 4 bound of waiting messages, 5 bound of what waits for the archive, 6 bound of one sender's waiting
-- messages, kept once there are half as many of anybody's; half of 4 where somebody takes it now; then FIELDS of each
-- message:
-- 1 id, 2 dedup name or '', 3 message, 4 flags '0' or '1': stored, address to be marked as due, archived, sender's other clients get a copy, also
-- when it is dropped, for XMPP only; behind them when it expires, if it does, 5 named endpoint, 6 sender, 7 sender's endpoint; at the end link key,
-- number of this call, whether it is sent again.
-- Returns for each status, when the address is due or 0, endpoints, with NUL between: L live, S stored, X dropped, D duplicate, F full, M too many
-- of the sender's, or too much waits; or what went wrong.
local ARCHIVE = 't:archive'
local FIELDS, FLAGS, YES = 7, 6, 49
local LARGE = 16384 -- bytes of a message that is weighed
local LARGE_BOUND = 4194304 -- bytes of such messages that may wait; of one sender, half of it
local CROWD_KEPT = 604800000 -- milliseconds it is remembered what a sender sent while many waited

local dedup_time, pending_bound, archive_bound, sender_bound
local archive_room -- nil until it is looked up
local accepted -- microseconds; only orders
local met -- base key → {endpoints, their ids, how many messages wait}: many of one call are often for the same person
local senders -- key of a sender's endpoints → their ids

local function answer(status, due, endpoints)
  return status .. '\0' .. due .. '\0' .. table.concat(endpoints, '\0')
end

local function as_then(id)
  local stored, endpoints = call('HGET', base .. ':pending', id), {}
  if stored then
    local _, owed = unpack_one(stored)
    for i = STATES, #owed, 2 do
      endpoints[#endpoints + 1] = owed[i]
    end
  end
  return answer(stored and #endpoints == 0 and 'S' or 'L', '0', endpoints)
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
  senders[key] = senders[key] or call('HKEYS', key)
  for _, other in ipairs(senders[key]) do
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

local function accept(id, dedup, message, flags, named, sender, sending)
  local pending, seen = base .. ':pending', nil
  if dedup ~= '' then
    seen = base .. ':seen:' .. dedup
    local earlier = call('GET', seen)
    if earlier then
      earlier = cmsgpack.unpack(earlier)
      if earlier[1] > now then
        return answer(earlier[2] == id and earlier[3] or 'D', '0', { unpack(earlier, 4) })
      end
    end
  end

  met[base] = met[base] or { read_endpoints() }
  local here = met[base]
  local endpoints, ids = here[1], here[2]
  local store, mark, kept, copied, anyway, xmpp_only = string.byte(flags, 1, FLAGS)
  store, mark, kept, copied = store == YES, mark == YES, kept == YES, copied == YES
  local audience = xmpp_only == YES and 'xmpp' or 'all'
  local address = string.sub(base, 4, -2)
  local waiting = store and (here[3] or call('HLEN', pending)) or 0
  if waiting >= pending_bound then
    drive(address, endpoints, ids, {}, {}, {}, false) -- what has expired makes room
    waiting = call('HLEN', pending)
    if waiting >= pending_bound then
      return answer('F', '0', {})
    end
  end
  local chosen = targets(endpoints, ids, audience, named)
  local crowd = store and waiting * 2 >= sender_bound and base .. ':from:' .. sender
  if crowd and too_many(crowd, pending, #chosen > 0 and pending_bound / 2 or sender_bound) then
    return answer('M', '0', {})
  end
  local large = store and #message > LARGE and base .. ':large'
  if large and heavy(large, pending, #message, sender, false) and heavy(large, pending, #message, sender, true) then
    return answer('M', '0', {})
  end
  if kept then
    archive_room = archive_room or archive_bound - call('XLEN', ARCHIVE)
    if archive_room <= 0 then
      return answer('F', '0', {})
    end
  end

  local status, due = #chosen > 0 and 'L' or (store and 'S' or 'X'), '0'
  if store then
    local expires = #flags > FLAGS and tonumber(string.sub(flags, FLAGS + 1)) or 0
    if call('HSETNX', pending, id, new_head(expires, audience, named, chosen) .. message) == 0 then
      return as_then(id) -- the same message once more
    end
    here[3] = waiting + 1
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
        due = now + OVERDUE
      else
        due = call('ZSCORE', 't:due:messages', address)
      end
    end
  end
  if seen then
    call('SET', seen, pack({ now + tonumber(dedup_time), id, status, unpack(chosen) }), 'PX', dedup_time)
  end
  if #chosen == 1 and store then
    post_alone(endpoints[chosen[1]][3], message, chosen[1])
  elseif #chosen > 0 then
    deliver(message, endpoints, chosen, false)
  end
  if kept and status ~= 'X' then
    call('XADD', ARCHIVE, '*', '1', message)
    archive_room = archive_room - 1
  end
  if copied and (status ~= 'X' or anyway == YES) then
    copy(message, sender, sending, endpoints, ids, chosen)
  end
  return answer(status, due, chosen)
end

register('submit', function(keys, argv)
  begin(argv[1])
  dedup_time, pending_bound, archive_bound, archive_room = argv[3], tonumber(argv[4]), tonumber(argv[5]), nil
  sender_bound, met, senders = tonumber(argv[6]), {}, {}
  local last, answers = #argv, {}
  local done = done_before(argv[last - 2], argv[last - 1], argv[last])
  local time = call('TIME')
  accepted = time[1] * 1000000 + time[2]
  for i, key in ipairs(keys) do
    local first, well, answer = 7 + (i - 1) * FIELDS, nil, nil
    at(key, argv[2])
    if done then
      well, answer = pcall(as_then, argv[first])
    else
      well, answer = pcall(accept, unpack(argv, first, first + FIELDS - 1))
    end
    answers[i] = well and answer or failure(answer)
    accepted = accepted + 1
  end
  send_out()
  return answers
end)
