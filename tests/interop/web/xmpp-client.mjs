// xmpp.js in a process of its own: one JSON command a line on standard input, one JSON event a line on standard
// output. `configure` makes the client; everything it sends and receives is told as it is on the wire.

import { createInterface } from "node:readline";
import { client, xml } from "@xmpp/client";

const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
let xmpp;

const commands = {
  configure({ agent, token, ...options }) {
    xmpp = client({ ...options, ...(agent && { userAgent: xml("user-agent", { id: agent }) }) });
    xmpp.reconnect.delay = 100;
    xmpp.fast.saveToken = async (saved) => tell({ event: "token", token: (token = saved) });
    xmpp.fast.fetchToken = async () => token;
    xmpp.fast.deleteToken = async () => tell({ event: "token", token: (token = null) });
    xmpp.on("online", (jid) => tell({ event: "online", jid: jid.toString() }));
    xmpp.on("offline", () => tell({ event: "offline" }));
    xmpp.on("error", (error) => tell({ event: "error", error: String(error) }));
    xmpp.on("send", (element) => tell({ event: "out", xml: element.toString() }));
    xmpp.on("element", (element) => tell({ event: "in", xml: element.toString() }));
    xmpp.streamManagement.on("resumed", () => tell({ event: "resumed", jid: xmpp.jid.toString() }));
  },
  start: () => xmpp.start(),
  say: ({ to, text }) => xmpp.send(xml("message", { to, type: "chat" }, xml("body", {}, text))),
  presence: () => xmpp.send(xml("presence")),
  cut: () => (xmpp.socket.socket ?? xmpp.socket).destroy(),
  stop: () => xmpp.stop(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  Promise.resolve()
    .then(() => commands[command](given))
    .catch((error) => tell({ event: "error", error: String(error) }));
}
process.exit(0);
