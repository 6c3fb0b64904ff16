import { setupCode, start } from "./island";
import { admin } from "./rig";

/** archipelago starts the three islands that all flows share, with one account. */
export default async function archipelago() {
  const demo = await start("demo", "--burst-every=40s", "--burst-for=25s");
  process.env.ATOLL_E2E_URL = demo.url;
  process.env.ATOLL_E2E_DIR = demo.dir;
  const made = await fetch(`${demo.url}/api/atoll/v1/setup`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code: setupCode(demo.dir), ...admin }),
  });
  if (!made.ok) throw new Error(`make the first account: ${made.status} ${await made.text()}`);
  return demo.stop;
}
