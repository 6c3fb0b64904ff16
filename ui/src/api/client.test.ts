import { describe, expect, it } from "vitest";
import { refusalOf } from "./client";

const answer = (status: number, body: string) => new Response(body, { status, statusText: "Bad" });

describe("refusalOf", () => {
  it("reads the island's own form", async () => {
    const r = await refusalOf(
      answer(403, '{"code":"forbidden","message":"no","field":"name","remedy":"ask an admin"}'),
    );
    expect([r.status, r.code, r.message, r.field, r.remedy]).toEqual([
      403,
      "forbidden",
      "no",
      "name",
      "ask an admin",
    ]);
  });
  it("reads Prometheus'", async () => {
    const r = await refusalOf(answer(400, '{"status":"error","errorType":"bad_data","error":"parse error"}'));
    expect([r.code, r.message, r.remedy]).toEqual(["bad_data", "parse error", undefined]);
  });
  it("reads Alertmanager's text in JSON", async () => {
    expect((await refusalOf(answer(400, '"silence invalid"'))).message).toBe("silence invalid");
  });
  it("reads plain text and nothing at all", async () => {
    expect((await refusalOf(answer(502, " gateway\n"))).message).toBe("gateway");
    expect((await refusalOf(answer(502, ""))).message).toBe("Bad");
  });
});
