import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const binary = process.env.ATOLL_BINARY ?? resolve(import.meta.dirname, "../../bin/atoll");

/** Program is a running atoll: its first island's address and directory. */
export type Program = { url: string; dir: string; stop: () => Promise<void> };

/** start runs `atoll ARGS… --listen ADDRESS` in a directory of its own until the island there is ready. */
export async function start(command: "demo" | "run", ...args: string[]): Promise<Program> {
  const dir = mkdtempSync(join(tmpdir(), "atoll-e2e-"));
  const address = `127.0.0.1:${await freePort()}`;
  const where =
    command === "demo" ? ["--listen", address, "--dir", dir] : ["--listen", address, "--data-dir", dir];
  const child = spawn(binary, [command, ...where, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (text) => {
      said = (said + String(text)).slice(-20_000);
    });
  }
  const stop = async () => {
    await ended(child);
    rmSync(dir, { recursive: true, force: true });
  };
  const url = `http://${address}`;
  for (const end = Date.now() + 60_000; ; ) {
    if (child.exitCode !== null) throw new Error(`atoll ${command} ended:\n${said}`);
    const ready = await fetch(`${url}/-/ready`).catch(() => undefined);
    if (ready?.ok) return { url, dir, stop };
    if (Date.now() > end) {
      await stop();
      throw new Error(`atoll ${command} was not ready after a minute:\n${said}`);
    }
    await new Promise((r) => setTimeout(r, 100));
  }
}

async function ended(child: ChildProcess) {
  if (child.exitCode !== null) return;
  const gone = new Promise((r) => child.once("exit", r));
  child.kill("SIGINT");
  const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
  await gone;
  clearTimeout(late);
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer().on("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address === "object" ? done(address.port) : fail(new Error("no port")),
      );
    });
  });
}

/** setupCode finds the code that the first island below dir wrote when it started without users. */
export function setupCode(dir: string): string {
  const file = join("run", "setup-code");
  const beside = [
    dir,
    join(dir, "data"),
    ...readdirSync(dir).map((d) => join(dir, d)),
    ...readdirSync(dir).map((d) => join(dir, d, "data")),
  ];
  for (const d of beside) {
    const path = join(d, file);
    if (existsSync(path) && statSync(path).isFile()) return readFileSync(path, "utf8").trim();
  }
  throw new Error(`no ${file} below ${dir}`);
}
