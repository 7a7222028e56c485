"""Build the site, serve it on this machine, rebuild it at every change and have the browser load it again.

Run as ``python -m book._tools.serve [--port 8000] [--open]``, or as ``make serve``. sphinx-autobuild brings the watcher
and the websocket; the build is jupyter-book's, without ``-W``, because half-written text is what one looks at here.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from sphinx_autobuild.filter import IgnoreFilter
from sphinx_autobuild.middleware import JavascriptInjectorMiddleware
from sphinx_autobuild.server import RebuildServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
WATCHED = ["book", "notebooks", "lvmlib", "_config.yml", "_toc.yml"]
IGNORED = [r"__pycache__", r"\.ipynb_checkpoints", r"/\.[^/]+$", r"~$", r"\.tmp$"]


def build(changed_paths: Sequence[Path] = ()) -> None:
    """Build what has changed; a build that fails is reported, and the last good pages stay."""
    if changed_paths:
        print("changed:", *sorted({path.name for path in changed_paths})[:5], flush=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run([sys.executable, jupyter_book, "build", ".", "--keep-going"], cwd=ROOT, check=False)
    print("built; waiting for changes" if done.returncode == 0 else "the build failed, see above", flush=True)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the site and rebuild it at every change.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--open", action="store_true", help="open a browser")
    arguments = parser.parse_args()
    address = f"127.0.0.1:{arguments.port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", arguments.port))
        except OSError as error:
            sys.exit(f"make: port {arguments.port} cannot be used ({error.strerror}); try make serve PORT=8001")

    build()
    if not (SITE / "index.html").exists():
        sys.exit("make: there is no site to serve; mend what the build reports above and run make serve again.")
    watcher = RebuildServer([ROOT / name for name in WATCHED], IgnoreFilter([], IGNORED), change_callback=build)
    app = Starlette(
        routes=[
            WebSocketRoute("/websocket-reload", watcher, name="reload"),
            Mount("/", app=StaticFiles(directory=SITE, html=True), name="site"),
        ],
        middleware=[Middleware(JavascriptInjectorMiddleware, ws_url=address)],
        lifespan=watcher.lifespan,
    )
    print(f"serving on http://{address} (Ctrl+C ends it)", flush=True)
    if arguments.open:
        threading.Timer(1, webbrowser.open, [f"http://{address}"]).start()
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
