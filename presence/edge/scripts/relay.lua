-- An envelope for live endpoints. ARGV: 3 envelope, 4 kind, 5 endpoint id or ''. Returns how many nodes got it.
local endpoints, sent, count = read_endpoints(), {}, 0
for id, endpoint in pairs(endpoints) do
  if live(endpoint[1]) and endpoint[4] == ARGV[4] and (ARGV[5] == '' or ARGV[5] == id) and not sent[endpoint[3]] then
    sent[endpoint[3]] = true
    count = count + 1
    post(endpoint[3], ARGV[3])
  end
end
return count
