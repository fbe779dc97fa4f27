-- Change one address. KEYS: base key. ARGV: 1 the caller's time, 2 bound of an inbox, 3 update: MessagePack array of
--   1 conditions [source id, tag]...     2 cell conditions [name, version]...
--   3 dropped source ids                 4 dropped endpoint ids      5 only this owner, or false
--   6 put sources [id, value]...         7 put endpoints [id, value]...
--   8 put cells [name, value or '']...   9 farewell                  10 trace
--   11 the address's payload             12 swept node or ''         13 its living incarnation or ''
--   14 maintenance
-- 4 link key, 5 number of this call, 6 it is sent again.
-- Returns {version, changed, ended, last seen, source...}, or {0, reason}.

local sources, payload -- heads and payloads by id
local endpoints
local ended -- ids of endpoints that are gone, or are another's now
local ended_any, endpoints_changed

local function answer(version, changed)
  local ids, reply = {}, { version, changed, ended_any, call('HGET', base .. ':meta', 'last') or '' }
  for id in pairs(sources) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    reply[#reply + 1] = payload[id]
  end
  return reply
end

-- conditions -------------------------------------------------------------------------------------
local function refused(tags, cells)
  for _, condition in ipairs(tags) do
    local head = sources[condition[1]]
    if not head or not live(head[1]) or head[3] ~= condition[2] then
      return { 0, 'stale', condition[1] }
    end
  end
  for _, condition in ipairs(cells) do
    local cell = call('HGET', base .. ':cells', condition[1])
    if (cell and split(cell) or 0) ~= condition[2] then
      return { 0, 'conflict', condition[1] }
    end
  end
end

-- what ends --------------------------------------------------------------------------------------
local function node_of(owner)
  return string.match(owner, '^(.-)/')
end

local function nodes()
  local found = {}
  for _, head in pairs(sources) do
    local node = node_of(head[2])
    if node then
      found[node] = true
    end
  end
  for _, endpoint in pairs(endpoints) do
    found[endpoint[3]] = true
    local node = node_of(endpoint[2])
    if node then
      found[node] = true
    end
  end
  return found
end

local function end_source(id)
  if sources[id] then
    sources[id], payload[id], ended_any = nil, nil, 1
    call('HDEL', base .. ':sources', id)
    for other, head in pairs(sources) do
      if head[4] == id then
        sources[other], payload[other] = nil, nil
        call('HDEL', base .. ':sources', other)
      end
    end
  end
end

local function end_endpoint(id)
  if endpoints[id] then
    endpoints[id], ended[id], ended_any, endpoints_changed = nil, true, 1, true
    call('HDEL', base .. ':endpoints', id)
  end
end

local function ends(head, sweep, incarnation)
  if not live(head[1]) then
    return true
  end
  if sweep == '' then
    return false
  end
  local owner = head[2]
  return node_of(owner) == sweep and (incarnation == '' or owner ~= sweep .. '/' .. incarnation)
end

local function end_what_is_over(sweep, incarnation)
  local doomed = nil
  for id, head in pairs(sources) do
    if ends(head, sweep, incarnation) then
      doomed = { id, doomed }
    end
  end
  while doomed do
    end_source(doomed[1])
    doomed = doomed[2]
  end
  for id, endpoint in pairs(endpoints) do
    if ends(endpoint, sweep, incarnation) then
      doomed = { id, doomed }
    end
  end
  while doomed do
    end_endpoint(doomed[1])
    doomed = doomed[2]
  end
end

local function drop(source_ids, endpoint_ids, only)
  for _, id in ipairs(source_ids) do
    if sources[id] and (not only or sources[id][2] == only) then
      end_source(id)
    end
  end
  for _, id in ipairs(endpoint_ids) do
    if endpoints[id] and (not only or endpoints[id][2] == only) then
      end_endpoint(id)
    end
  end
end

-- what is put ------------------------------------------------------------------------------------
local function put(new_sources, new_endpoints, cells)
  for _, each in ipairs(new_sources) do
    sources[each[1]], payload[each[1]] = split(each[2])
    call('HSET', base .. ':sources', each[1], each[2])
  end
  local put_now = {}
  for _, each in ipairs(new_endpoints) do
    local id, new = each[1], cmsgpack.unpack(each[2])
    local old = endpoints[id]
    if old and (old[2] ~= new[2] or old[3] ~= new[3]) then
      ended[id] = true -- another owner's: what was owed to it was never its successor's
    end
    endpoints[id], put_now[id], endpoints_changed = new, true, true
    call('HSET', base .. ':endpoints', id, each[2])
  end
  for _, cell in ipairs(cells) do
    if cell[2] == '' then
      call('HDEL', base .. ':cells', cell[1])
    else
      call('HSET', base .. ':cells', cell[1], cell[2])
    end
  end
  return put_now
end

-- bookkeeping: which nodes hold something here, and when the next lease ends ---------------------
local function note_nodes(address, before, sweep)
  local after = nodes()
  for node in pairs(after) do
    if not before[node] then
      call('SADD', 't:node:' .. node .. ':addresses', address)
    end
  end
  for node in pairs(before) do
    if not after[node] then
      call('SREM', 't:node:' .. node .. ':addresses', address)
    end
  end
  if sweep ~= '' and not after[sweep] then
    call('SREM', 't:node:' .. sweep .. ':addresses', address)
  end
end

local function soonest(leased, due)
  for _, head in pairs(leased) do
    if head[1] ~= 0 and (due == 0 or head[1] < due) then
      due = head[1]
    end
  end
  return due
end

-- who hears of it --------------------------------------------------------------------------------
local function differ(before)
  for id, body in pairs(payload) do
    if before[id] ~= body then
      return true
    end
  end
  for id in pairs(before) do
    if not payload[id] then
      return true
    end
  end
  return false
end

local function announce(reply, version, update)
  local interested = call('SMEMBERS', base .. ':interest')
  if #interested > 0 then
    local count = #reply - 4
    local array = count < 16 and string.char(144 + count)
      or '\220' .. string.char(math.floor(count / 256), count % 256)
    local envelope = '\131\164type\168presence\168snapshot\132\167address' .. update[11] .. '\167version'
      .. pack(version) .. '\167sources' .. array .. table.concat(reply, '', 5) .. '\169last_seen'
      .. (reply[4] ~= '' and reply[4] or '\192') .. '\165trace' .. pack(update[10])
    for _, node in ipairs(interested) do
      post(node, envelope)
    end
  end
end

local function drive_what_waits(address, sweep, incarnation, put_now, maintain)
  local ids, back = {}, {}
  for id, endpoint in pairs(endpoints) do
    ids[#ids + 1] = id
    if sweep ~= '' and incarnation ~= '' and endpoint[3] == sweep then
      back[id] = true -- its node has just begun anew, and remembers nothing
    end
  end
  table.sort(ids)
  drive(address, endpoints, ids, ended, put_now, back, maintain)
end

register('commit', function(keys, argv)
  begin(argv[2])
  at(keys[1], argv[1])
  local update, address = cmsgpack.unpack(argv[3]), string.sub(base, 4, -2)
  local sweep, incarnation, maintain = update[12], update[13], update[14]

  local before = {}
  sources, payload, ended, ended_any, endpoints_changed = {}, {}, {}, 0, sweep ~= '' or maintain
  local flat = call('HGETALL', base .. ':sources')
  for i = 1, #flat, 2 do
    local head, body = split(flat[i + 1])
    sources[flat[i]], payload[flat[i]], before[flat[i]] = head, body, body
  end
  endpoints = read_endpoints()

  if done_before(argv[4], argv[5], argv[6]) then
    return answer(call('HGET', base .. ':meta', 'ver') or 0, 1)
  end
  local refusal = refused(update[1], update[2])
  if refusal then
    return refusal
  end
  local nodes_before, due_before = nodes(), soonest(endpoints, soonest(sources, 0))
  end_what_is_over(sweep, incarnation)
  drop(update[3], update[4], update[5])
  local put_now = put(update[6], update[7], update[8])

  note_nodes(address, nodes_before, sweep)
  local due = soonest(endpoints, soonest(sources, 0))
  if due ~= due_before or maintain then
    if due ~= 0 then
      call('ZADD', 't:due:leases', due, address)
    else
      call('ZREM', 't:due:leases', address)
    end
  end
  if maintain then
    call('ZREM', 't:due:claimed', address)
  end

  local changed, version = differ(before), tonumber(call('HGET', base .. ':meta', 'ver') or 0)
  if changed then
    version = math.max(version + 1, math.floor(now)) -- grows even if the server forgot everything
    call('HSET', base .. ':meta', 'ver', version)
    if next(payload) == nil and next(before) ~= nil then
      call('HSET', base .. ':meta', 'last', update[9])
    end
  end
  local reply = answer(version, changed and 1 or 0)
  if changed then
    announce(reply, version, update)
  end
  if endpoints_changed and call('EXISTS', base .. ':pending') == 1 then
    drive_what_waits(address, sweep, incarnation, put_now, maintain)
  end
  send_out()
  return reply
end)
