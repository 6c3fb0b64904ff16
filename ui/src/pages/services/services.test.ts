import { describe, expect, it } from "vitest";
import { parser } from "@/prom/restrict";
import { discover, red, type Source, sourceOf } from "./discover";
import { rules } from "./rules";

/** faults are the places where the grammar does not know what to make of an expression. */
function faults(expr: string): number {
  let n = 0;
  parser.parse(expr).iterate({
    enter(node) {
      if (node.type.isError) n++;
    },
  });
  return n;
}

const only = (names: string[], labels: string[]): Source => {
  const [f] = discover(names);
  const s = f && sourceOf(f, labels);
  if (s === undefined) throw new Error("nothing was found");
  return s;
};

describe("what services look like", () => {
  it.each([
    [
      ["http_requests_total", "http_request_duration_seconds_bucket"],
      "http",
      "http_request_duration_seconds",
    ],
    [
      ["shop_http_requests_total", "shop_http_request_duration_seconds"],
      "http",
      "shop_http_request_duration_seconds",
    ],
    [
      ["http_request_duration_seconds_count", "http_request_duration_seconds_bucket"],
      "http-duration",
      "http_request_duration_seconds",
    ],
    [
      ["grpc_server_handled_total", "grpc_server_handling_seconds_bucket"],
      "grpc",
      "grpc_server_handling_seconds",
    ],
    [
      ["http_server_requests_seconds_count", "http_server_requests_seconds_bucket"],
      "micrometer",
      "http_server_requests_seconds",
    ],
    [
      ["http_server_request_duration_seconds_count", "http_server_request_duration_seconds_bucket"],
      "otel-http",
      "http_server_request_duration_seconds",
    ],
    [
      ["http_server_duration_milliseconds_count", "http_server_duration_milliseconds_bucket"],
      "otel-http",
      "http_server_duration_milliseconds",
    ],
    [
      ["rpc_server_duration_milliseconds_count", "rpc_server_duration_milliseconds_bucket"],
      "otel-rpc",
      "rpc_server_duration_milliseconds",
    ],
    [
      ["traces_spanmetrics_calls_total", "traces_spanmetrics_latency_bucket"],
      "spans",
      "traces_spanmetrics_latency",
    ],
    [
      ["traces_span_metrics_calls_total", "traces_span_metrics_duration_milliseconds_bucket"],
      "spans",
      "traces_span_metrics_duration_milliseconds",
    ],
    [
      ["istio_requests_total", "istio_request_duration_milliseconds_bucket"],
      "istio",
      "istio_request_duration_milliseconds",
    ],
    [
      ["nginx_ingress_controller_requests", "nginx_ingress_controller_request_duration_seconds_bucket"],
      "ingress-nginx",
      "nginx_ingress_controller_request_duration_seconds",
    ],
    [
      ["traefik_service_requests_total", "traefik_service_request_duration_seconds_bucket"],
      "traefik",
      "traefik_service_request_duration_seconds",
    ],
    [["http_requests_total"], "http", undefined],
  ])("%j", (names, rule, duration) => {
    const found = discover(names);
    expect(found.map((f) => [f.rule.id, f.duration?.metric])).toEqual([[rule, duration]]);
  });
  it("is not what merely sounds like it", () =>
    expect(discover(["http_requests_in_flight", "http_client_requests_total_bytes", "node_load1"])).toEqual(
      [],
    ));
  it("counts requests once though a counter and a histogram have them", () =>
    expect(
      discover([
        "a_http_request_duration_seconds_count",
        "a_http_request_duration_seconds_bucket",
        "a_http_requests_total",
      ]).map((f) => f.requests),
    ).toEqual(["a_http_requests_total"]));
  it("has each rule tried by an id of its own", () =>
    expect(new Set(rules.map((r) => r.id)).size).toBe(rules.length));
});

describe("questions", () => {
  const shop = only(
    ["shop_http_requests_total", "shop_http_request_duration_seconds_bucket"],
    ["code", "job", "route", "service"],
  );
  it("use the labels that there are", () => {
    expect([shop.service, shop.errors, shop.split]).toEqual(["service", 'code=~"5.."', ["route"]]);
    const r = red(shop, "1m", ["service"]);
    expect(r.rate).toBe("sum by (service) (rate(shop_http_requests_total[1m]))");
    expect(r.errors).toContain('rate(shop_http_requests_total{code=~"5.."}[1m])');
    expect(r.latency?.(0.95)).toBe(
      "histogram_quantile(0.95, sum by (service, le) (rate(shop_http_request_duration_seconds_bucket[1m])))",
    );
  });
  it("take native histograms as they are, and milliseconds as seconds", () => {
    const native = only(["x_http_requests_total", "x_http_request_duration_seconds"], ["job"]);
    expect(red(native, "1m", []).latency?.(0.5)).toBe(
      "histogram_quantile(0.5, sum(rate(x_http_request_duration_seconds[1m])))",
    );
    const ms = only(
      ["istio_requests_total", "istio_request_duration_milliseconds_bucket"],
      ["destination_workload", "reporter"],
    );
    expect(red(ms, "1m", [], "a").latency?.(0.5)).toBe(
      'histogram_quantile(0.5, sum by (le) (rate(istio_request_duration_milliseconds_bucket{reporter="destination",destination_workload="a"}[1m]))) / 1000',
    );
  });
  it("ask nothing about what is not there", () => {
    const bare = only(["http_requests_total"], ["job"]);
    expect(Object.keys(red(bare, "1m", ["job"]))).toEqual(["rate"]);
    const [f] = discover(["http_requests_total"]);
    expect(f && sourceOf(f, ["instance"])).toBeUndefined();
  });
  it("are PromQL, whatever the service is called", () => {
    const r = red(shop, "1m", ["service", "route"], 'a"b\\');
    for (const e of [r.rate, r.errors ?? "", r.latency?.(0.9) ?? ""]) expect(faults(e)).toBe(0);
  });
});
