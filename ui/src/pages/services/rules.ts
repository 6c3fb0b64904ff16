/** Rule tells how requests to a service look in metrics that many programs have. */
export type Rule = {
  id: string;
  /** Matches the metric that counts requests; its first group is the metrics' prefix. */
  requests: RegExp;
  /** Metrics of how long requests took, $1 for the prefix; the first that exists is taken. */
  durations: readonly string[];
  /** What is one service: the first of these labels that the metric has. */
  service: readonly string[];
  /** Which requests failed: the first whose label the metric has. */
  errors: readonly { label: string; matcher: string }[];
  /** What requests can be told apart by. */
  split: readonly string[];
  /** Leaves out what is no request to the service. */
  only?: { label: string; matcher: string };
};

const httpErrors = [
  "code",
  "status",
  "status_code",
  "http_status_code",
  "http_response_status_code",
  "response_code",
  "http_code",
].map((label) => ({ label, matcher: `${label}=~"5.."` }));

const grpcServer = "Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss";
const grpcNumbers = "2|4|12|13|14|15";

const routes = [
  "handler",
  "route",
  "http_route",
  "path",
  "uri",
  "endpoint",
  "url",
  "operation",
  "method",
  "http_method",
  "http_request_method",
];
const names = ["service", "service_name", "app", "application", "app_kubernetes_io_name"];

/**
 * rules are tried in this order; of one service that two rules find, the first
 * counts. Metrics of durations may be classic or native histograms.
 */
export const rules: readonly Rule[] = [
  {
    id: "spans",
    requests: /^(traces_span_?metrics_)calls_total$/,
    durations: ["$1duration_seconds", "$1duration_milliseconds", "$1latency", "$1latency_seconds"],
    service: ["service_name", "service"],
    errors: [{ label: "status_code", matcher: 'status_code="STATUS_CODE_ERROR"' }],
    split: ["span_name"],
    only: { label: "span_kind", matcher: 'span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"' },
  },
  {
    id: "istio",
    requests: /^(istio_)requests_total$/,
    durations: ["$1request_duration_milliseconds"],
    service: ["destination_service_name", "destination_workload", "destination_app"],
    errors: [{ label: "response_code", matcher: 'response_code=~"5.."' }],
    split: ["source_workload", "request_protocol"],
    only: { label: "reporter", matcher: 'reporter="destination"' },
  },
  {
    id: "ingress-nginx",
    requests: /^(nginx_ingress_controller_)requests$/,
    durations: ["$1request_duration_seconds"],
    service: ["ingress", "exported_service"],
    errors: [{ label: "status", matcher: 'status=~"5.."' }],
    split: ["path", "method", "host"],
  },
  {
    id: "traefik",
    requests: /^(traefik_service_)requests_total$/,
    durations: ["$1request_duration_seconds"],
    service: ["service"],
    errors: [{ label: "code", matcher: 'code=~"5.."' }],
    split: ["method"],
  },
  {
    id: "grpc",
    requests: /^(.*_)?grpc_server_handled_total$/,
    durations: ["$1grpc_server_handling_seconds"],
    service: [...names, "job"],
    errors: [{ label: "grpc_code", matcher: `grpc_code=~"${grpcServer}"` }],
    split: ["grpc_method", "grpc_service"],
  },
  {
    id: "otel-rpc",
    requests: /^(rpc_server_)(?:call_)?duration(?:_seconds|_milliseconds)?_count$/,
    durations: ["$1call_duration_seconds", "$1duration_seconds", "$1duration_milliseconds", "$1duration"],
    service: [...names, "job"],
    errors: [{ label: "rpc_grpc_status_code", matcher: `rpc_grpc_status_code=~"${grpcNumbers}"` }],
    split: ["rpc_method", "rpc_service"],
  },
  {
    id: "otel-http",
    requests: /^(http_server_)(?:request_)?duration(?:_seconds|_milliseconds)?_count$/,
    durations: ["$1request_duration_seconds", "$1duration_seconds", "$1duration_milliseconds", "$1duration"],
    service: [...names, "job"],
    errors: httpErrors,
    split: routes,
  },
  {
    id: "micrometer",
    requests: /^(http_server_requests_)seconds_count$/,
    durations: ["$1seconds"],
    service: [...names, "job"],
    errors: [{ label: "status", matcher: 'status=~"5.."' }],
    split: ["uri", "method"],
  },
  {
    id: "http",
    requests: /^(.*_)?http_requests_total$/,
    durations: [
      "$1http_request_duration_seconds",
      "$1http_requests_duration_seconds",
      "$1http_response_time_seconds",
    ],
    service: [...names, "job"],
    errors: httpErrors,
    split: routes,
  },
  {
    id: "http-duration",
    requests: /^(.*_)?http_requests?_duration_seconds_count$/,
    durations: ["$1http_request_duration_seconds", "$1http_requests_duration_seconds"],
    service: [...names, "job"],
    errors: httpErrors,
    split: routes,
  },
];
