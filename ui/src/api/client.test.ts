import { describe, expect, expectTypeOf, it } from "vitest";
import { type AnswerOf, ask, type BodyOf, refusalOf, send } from "./client";
import type { components } from "./schema";

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

describe("requests are typed by the document", () => {
  it("finds the path whose parameters are filled in", () => {
    type Rules = AnswerOf<"/api/v1/rules?type=alert">;
    expectTypeOf<Rules["data"]["groups"][number]["name"]>().toEqualTypeOf<string>();
    type Doc = AnswerOf<`/api/atoll/v1/documents/${string}/${string}`>;
    expectTypeOf<Doc>().toEqualTypeOf<components["schemas"]["Document"]>();
    expectTypeOf<BodyOf<"/api/v2/silences", "post">>().not.toEqualTypeOf<undefined>();
  });
  it("refuses what the island does not answer", () => {
    const never = [
      // @ts-expect-error There is no such path.
      () => ask("/api/atoll/v1/nowhere"),
      // @ts-expect-error A value does not stand for two parts of a path.
      () => ask(`/api/atoll/v1/users/a/b`),
      // @ts-expect-error The body has other fields.
      () => send("POST", "/api/atoll/v1/session", { name: "x" }),
      // @ts-expect-error Users are not put to their list.
      () => send("PUT", "/api/atoll/v1/users", { roles: [] }),
    ];
    expect(never).toHaveLength(4);
  });
});
