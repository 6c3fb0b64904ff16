import { useCallback, useEffect, useMemo, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { type Range, readRange, secondsOf, spanOf, writeRange } from "./range";

/** Timeline is the time range of a view: kept in the address, the same for all its charts. */
export type Timeline = {
  range: Range;
  span: { from: number; to: number; step: number };
  refresh: string;
  /** Where the present is for this view, ms since 1970. */
  now: number;
  choose: (range: Range) => void;
  zoom: (from: number, to: number) => void;
  /** Undoes the last zoom; undefined where there was none. */
  back: (() => void) | undefined;
  every: (refresh: string) => void;
  renew: () => void;
};

/**
 * useRange reads and writes the range of the view's address. live is how often the
 * view asks again where its address does not say it.
 */
export function useRange(fallback = "1h", live = ""): Timeline {
  const [params, setParams] = useSearchParams();
  const navigate = useNavigate();
  const [now, setNow] = useState(() => Date.now());
  const [zooms, setZooms] = useState(0);
  const said = params.get("refresh") ?? live;
  const refresh = said === "off" ? "" : said;
  const step = secondsOf(params.get("step") ?? "");
  const key = `${params.get("range")} ${params.get("from")} ${params.get("to")}`;
  const range = useMemo(() => readRange(params, fallback), [key, fallback]);
  const span = useMemo(() => spanOf(range, now, step), [range, now, step]);
  const moving = "last" in range;

  useEffect(() => {
    const seconds = secondsOf(refresh);
    if (seconds === undefined || !moving) return;
    const timer = setInterval(() => {
      // A page that nobody sees asks nothing.
      if (!document.hidden) setNow(Date.now());
    }, Math.max(seconds, 1) * 1000);
    return () => clearInterval(timer);
  }, [refresh, moving]);

  const choose = useCallback(
    (r: Range) => {
      setNow(Date.now());
      setZooms(0);
      setParams((p) => writeRange(p, r), { replace: true });
    },
    [setParams],
  );
  const zoom = useCallback(
    (from: number, to: number) => {
      setZooms((n) => n + 1);
      setParams((p) =>
        writeRange(p, { from: Math.floor(from), to: Math.max(Math.ceil(to), Math.floor(from) + 1000) }),
      );
    },
    [setParams],
  );
  const every = useCallback(
    (r: string) =>
      setParams(
        (p) => {
          const next = new URLSearchParams(p);
          if (r === live) next.delete("refresh");
          else next.set("refresh", r === "" ? "off" : r);
          return next;
        },
        { replace: true },
      ),
    [setParams, live],
  );
  const renew = useCallback(() => setNow(Date.now()), []);
  const back = useMemo(
    () =>
      zooms === 0
        ? undefined
        : () => {
            setZooms((n) => n - 1);
            void navigate(-1);
          },
    [zooms, navigate],
  );
  return { range, span, refresh, now, choose, zoom, back, every, renew };
}
