-- Change one address. ARGV: 3 address, 4 update: MessagePack array of
--   1 conditions [source id, tag]...     2 cell conditions [name, version]...
--   3 dropped source ids                 4 dropped endpoint ids      5 only this owner, or false
--   6 put sources [id, value]...         7 put endpoints [id, value]...
--   8 put cells [name, value or '']...   9 farewell                  10 trace
--   11 the address's payload             12 swept node or ''         13 its living incarnation or ''
--   14 maintenance
-- 5 link key, 6 number of this call, 7 it is sent again.
-- Returns {version, changed, ended, last seen, source...}, or {0, reason}.
local address, update = ARGV[3], cmsgpack.unpack(ARGV[4])
local sweep, incarnation, maintain = update[12], update[13], update[14]
local key = { sources = base .. ':sources', endpoints = base .. ':endpoints', cells = base .. ':cells' }

local sources, payload, before = {}, {}, {} -- heads, payloads, payloads as they were
local flat = call('HGETALL', key.sources)
for i = 1, #flat, 2 do
  local head, body = split(flat[i + 1])
  sources[flat[i]], payload[flat[i]], before[flat[i]] = head, body, body
end
local endpoints = read_endpoints()

local function answer(version, changed, ended)
  local ids, reply = {}, { version, changed, ended, call('HGET', base .. ':meta', 'last') or '' }
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
if done_before(ARGV[5], ARGV[6], ARGV[7]) then
  return answer(call('HGET', base .. ':meta', 'ver') or 0, 1, 0)
end
for _, condition in ipairs(update[1]) do
  local head = sources[condition[1]]
  if not head or not live(head[1]) or head[3] ~= condition[2] then
    return { 0, 'stale', condition[1] }
  end
end
for _, condition in ipairs(update[2]) do
  local cell = call('HGET', key.cells, condition[1])
  if (cell and split(cell) or 0) ~= condition[2] then
    return { 0, 'conflict', condition[1] }
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
local nodes_before = nodes()

local ended, ended_any, endpoints_changed = {}, 0, sweep ~= '' or maintain

local function end_source(id)
  if sources[id] then
    sources[id], payload[id], ended_any = nil, nil, 1
    call('HDEL', key.sources, id)
    for other, head in pairs(sources) do
      if head[4] == id then
        sources[other], payload[other] = nil, nil
        call('HDEL', key.sources, other)
      end
    end
  end
end

local function end_endpoint(id)
  if endpoints[id] then
    endpoints[id], ended[id], ended_any, endpoints_changed = nil, true, 1, true
    call('HDEL', key.endpoints, id)
  end
end

local function ends(head)
  if not live(head[1]) then
    return true
  end
  local owner = head[2]
  return sweep ~= '' and node_of(owner) == sweep
    and (incarnation == '' or owner ~= sweep .. '/' .. incarnation)
end

local doomed = {}
for id, head in pairs(sources) do
  if ends(head) then
    doomed[#doomed + 1] = id
  end
end
for _, id in ipairs(doomed) do
  end_source(id)
end
doomed = {}
for id, endpoint in pairs(endpoints) do
  if ends(endpoint) then
    doomed[#doomed + 1] = id
  end
end
for _, id in ipairs(doomed) do
  end_endpoint(id)
end

local only = update[5]
for _, id in ipairs(update[3]) do
  if sources[id] and (not only or sources[id][2] == only) then
    end_source(id)
  end
end
for _, id in ipairs(update[4]) do
  if endpoints[id] and (not only or endpoints[id][2] == only) then
    end_endpoint(id)
  end
end

-- what is put ------------------------------------------------------------------------------------
for _, put in ipairs(update[6]) do
  sources[put[1]], payload[put[1]] = split(put[2])
  call('HSET', key.sources, put[1], put[2])
end
local put_now = {}
for _, put in ipairs(update[7]) do
  local id, new = put[1], cmsgpack.unpack(put[2])
  local old = endpoints[id]
  if old and (old[2] ~= new[2] or old[3] ~= new[3]) then
    ended[id] = true -- another owner's: what was owed to it was never its successor's
  end
  endpoints[id], put_now[id], endpoints_changed = new, true, true
  call('HSET', key.endpoints, id, put[2])
end
for _, cell in ipairs(update[8]) do
  if cell[2] == '' then
    call('HDEL', key.cells, cell[1])
  else
    call('HSET', key.cells, cell[1], cell[2])
  end
end

-- bookkeeping: which nodes hold something here, and when the next lease ends ---------------------
local nodes_after = nodes()
for node in pairs(nodes_after) do
  if not nodes_before[node] then
    call('SADD', 't:node:' .. node .. ':addresses', address)
  end
end
for node in pairs(nodes_before) do
  if not nodes_after[node] then
    call('SREM', 't:node:' .. node .. ':addresses', address)
  end
end
if sweep ~= '' and not nodes_after[sweep] then
  call('SREM', 't:node:' .. sweep .. ':addresses', address)
end
local due = 0
for _, leased in ipairs({ sources, endpoints }) do
  for _, head in pairs(leased) do
    if head[1] ~= 0 and (due == 0 or head[1] < due) then
      due = head[1]
    end
  end
end
if due ~= 0 then
  call('ZADD', 't:due:leases', due, address)
else
  call('ZREM', 't:due:leases', address)
end
if maintain then
  call('ZREM', 't:due:claimed', address)
end

-- who hears of it --------------------------------------------------------------------------------
local changed = 0
for id, body in pairs(payload) do
  if before[id] ~= body then
    changed = 1
  end
end
for id in pairs(before) do
  if not payload[id] then
    changed = 1
  end
end
local version = tonumber(call('HGET', base .. ':meta', 'ver') or 0)
if changed == 1 then
  version = math.max(version + 1, math.floor(now)) -- grows even if the server forgot everything
  call('HSET', base .. ':meta', 'ver', version)
  if next(payload) == nil and next(before) ~= nil then
    call('HSET', base .. ':meta', 'last', update[9])
  end
end
local reply = answer(version, changed, ended_any)
if changed == 1 then
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

-- what waits -------------------------------------------------------------------------------------
if endpoints_changed and call('EXISTS', base .. ':pending') == 1 then
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
return reply
