"""The Python SDK's server with four tools: python_server.py stdio | http PORT | http-json PORT | sse PORT."""

import asyncio
import collections
import sys

from mcp.server import MCPServer

server = MCPServer("volley-python")

# How often `count` was executed with each message.
counts: collections.Counter[str] = collections.Counter()


@server.tool(description="Gives the message back")
def echo(message: str) -> str:
    return message


@server.tool(description="Answers after so many milliseconds")
async def sleepy(ms: int) -> str:
    await asyncio.sleep(ms / 1000)
    return str(ms)


@server.tool(description="Gives the message back and counts it")
def count(message: str) -> str:
    counts[message] += 1
    return message


@server.tool(description="How many messages were counted, and how many of them more than once")
def executions() -> str:
    return f"{len(counts)} {sum(1 for times in counts.values() if times > 1)}"


def main(mode: str = "stdio", port: str = "0") -> None:
    http = {"host": "127.0.0.1", "port": int(port)}
    if mode == "stdio":
        server.run()
    elif mode == "http":
        server.run(transport="streamable-http", **http)
    elif mode == "http-json":
        server.run(transport="streamable-http", json_response=True, stateless_http=True, **http)
    elif mode == "sse":
        server.run(transport="sse", **http)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
