import type { Receipt } from "./answer";

/** Summary is a receipt in a line. */
export type Summary = {
  asked: number;
  answered: number;
  missing: string[];
  bytes: number;
  /** The newest sample of the island whose newest is the oldest: nothing is staler. */
  newest: number | undefined;
};

/** summary counts; an island that could not have anything was not asked and is not missing. */
export function summary(receipt: Receipt): Summary {
  const islands = receipt.islands ?? [];
  const answered = islands.filter((i) => i.state === "answered");
  const newest = answered.filter((i) => i.samples > 0 && i.newest).map((i) => i.newest as number);
  return {
    asked: islands.filter((i) => i.state !== "skipped").length,
    answered: answered.length,
    missing: islands.filter((i) => i.state === "failed").map((i) => i.name),
    bytes: islands.reduce((sum, i) => sum + i.bytes, 0),
    newest: newest.length === 0 ? undefined : Math.min(...newest),
  };
}
