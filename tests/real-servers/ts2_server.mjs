// The TypeScript SDK v2's server with four tools: ts2_server.mjs stdio | http PORT.
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { toNodeHandler } from '@modelcontextprotocol/node';
import * as z from 'zod';

const text = (value) => ({ content: [{ type: 'text', text: value }] });

// How often `count` was executed with each message, by whichever server object.
const counts = new Map();

// One server object for each connection, as the SDK asks for.
const make = () => {
  const server = new McpServer({ name: 'volley-ts2', version: '0.1.0' });
  server.registerTool(
    'echo',
    { description: 'Gives the message back', inputSchema: z.object({ message: z.string() }) },
    async ({ message }) => text(message),
  );
  server.registerTool(
    'sleepy',
    { description: 'Answers after so many milliseconds', inputSchema: z.object({ ms: z.number().int() }) },
    async ({ ms }) => {
      await sleep(ms);
      return text(String(ms));
    },
  );
  server.registerTool(
    'count',
    { description: 'Gives the message back and counts it', inputSchema: z.object({ message: z.string() }) },
    async ({ message }) => {
      counts.set(message, (counts.get(message) ?? 0) + 1);
      return text(message);
    },
  );
  server.registerTool(
    'executions',
    { description: 'How many messages were counted, and how many of them more than once', inputSchema: z.object({}) },
    async () => text(`${counts.size} ${[...counts.values()].filter((times) => times > 1).length}`),
  );
  return server;
};

const [mode = 'stdio', port = '0'] = process.argv.slice(2);
if (mode === 'stdio') {
  serveStdio(make);
} else if (mode === 'http') {
  const handler = toNodeHandler(createMcpHandler(make));
  http.createServer((req, res) => handler(req, res)).listen(Number(port), '127.0.0.1');
} else {
  console.error('usage: ts2_server.mjs stdio | http PORT');
  process.exit(2);
}
