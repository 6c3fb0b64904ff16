// Asking the island. Every answer is data or an Error; an Error with
// `unreachable` set means that nobody answered at all.

let skew = 0; // island's clock minus this device's, in ms

/** The island's time in ms: ages and ranges must not follow a phone's wrong clock. */
export function now() {
  return Date.now() + skew;
}

async function ask(path, signal, timeoutMs) {
  const late = AbortSignal.timeout(timeoutMs);
  let resp;
  try {
    resp = await fetch(path, {
      headers: { Accept: "application/json" },
      signal: signal ? AbortSignal.any([signal, late]) : late,
      cache: "no-store",
    });
  } catch (cause) {
    if (signal && signal.aborted) throw cause;
    const err = new Error(late.aborted ? `no answer within ${timeoutMs / 1000} s` : "no connection");
    err.unreachable = true;
    throw err;
  }
  const date = Date.parse(resp.headers.get("Date") || "");
  if (!Number.isNaN(date)) {
    // The header has whole seconds; smaller differences are not worth mending.
    const diff = date - Date.now();
    skew = Math.abs(diff) > 3000 ? diff : 0;
  }
  const text = await resp.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // An error page of a proxy, or plain text; handled as text below.
  }
  if (!resp.ok || body === null) {
    const err = new Error((body && (body.error || body.message)) || text.trim().slice(0, 500) || resp.statusText || "empty answer");
    err.status = resp.status;
    err.type = body && body.errorType;
    throw err;
  }
  return body;
}

/** GET of Atoll's own API. */
export function own(path, signal) {
  return ask("api/atoll/v1/" + path, signal, 8000);
}

/** GET of the Prometheus API; resolves to the whole answer with data and warnings. */
export function prometheus(path, params, signal, timeoutMs = 8000) {
  const query = params ? "?" + new URLSearchParams(params) : "";
  return ask("api/v1/" + path + query, signal, timeoutMs);
}
