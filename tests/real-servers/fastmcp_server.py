"""FastMCP's server with two tools: fastmcp_server.py stdio | http PORT."""

import asyncio
import sys

from fastmcp import FastMCP

server = FastMCP("volley-fastmcp")


@server.tool
def echo(message: str) -> str:
    return message


@server.tool
async def sleepy(ms: int) -> str:
    await asyncio.sleep(ms / 1000)
    return str(ms)


def main(mode: str = "stdio", port: str = "0") -> None:
    if mode == "stdio":
        server.run(show_banner=False)
    elif mode == "http":
        server.run(transport="http", host="127.0.0.1", port=int(port), show_banner=False)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
