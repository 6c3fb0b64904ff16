import { Alert, Anchor, Card, Group, SegmentedControl, Stack, Text, Tooltip } from "@mantine/core";
import { Link, useSearchParams } from "react-router";
import { $api } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { Empty, Failed, Loading, Mark } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import classes from "./alerts.module.css";
import { markOf, portion } from "./model";
import { useAlertsText } from "./text";

const day = 86_400_000;
const path = "/api/atoll/v1/alerts/timeline";

/** Timeline is a lane for each alert: when it fired. */
export function Timeline() {
  const t = useAlertsText();
  const { language } = useLanguage();
  const [params, setParams] = useSearchParams();
  const long = params.get("range") === "7d";
  // Times are asked for by the half minute, so that the question stays the same for a while.
  const to = Math.ceil(Date.now() / 30_000) * 30;
  const from = to - (long ? 7 : 1) * 86_400;
  const { data, error, refetch } = $api.useQuery(
    "get",
    path,
    { params: { query: { from: String(from), to: String(to) } } },
    { placeholderData: (before) => before, refetchInterval: 30_000 },
  );
  useRefreshOn(["alerts"], ["get", path]);
  const choose = (
    <SegmentedControl
      size="md"
      aria-label={t.timeline}
      value={long ? "7d" : "24h"}
      onChange={(v) => setParams(v === "7d" ? { range: v } : {}, { replace: true })}
      data={[
        { value: "24h", label: t.day },
        { value: "7d", label: t.week },
      ]}
    />
  );
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  const a = Date.parse(data.from);
  const b = Date.parse(data.to);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((f) => a + (b - a) * f);
  return (
    <Stack gap="sm">
      <Group>{choose}</Group>
      {data.partial && <Alert color="yellow">{t.partial}</Alert>}
      {data.items.length === 0 ? (
        <Empty title={t.noHistory}>{t.noHistoryHint}</Empty>
      ) : (
        <Card padding="sm">
          <div className={classes.lanes}>
            <div className={classes.lane}>
              <span className={classes.laneless} />
              <div className={classes.axis} aria-hidden>
                {ticks.map((at) => (
                  <span key={at} style={{ left: `${portion(at, a, b)}%` }}>
                    {b - a > 2 * day
                      ? new Date(at).toLocaleDateString(language, { month: "numeric", day: "numeric" })
                      : clock(at, language).slice(-8, -3)}
                  </span>
                ))}
              </div>
            </div>
            {data.items.map((lane) => (
              <div key={lane.alertname} className={classes.lane}>
                <Group gap={6}>
                  <Anchor
                    component={Link}
                    to={`/alerts/history?alertname=${encodeURIComponent(lane.alertname)}`}
                    size="sm"
                    c="inherit"
                  >
                    {lane.alertname}
                  </Anchor>
                  {lane.firing_now > 0 && <Mark state={markOf(lane.severity ?? "")}>{t.firingNow}</Mark>}
                </Group>
                <div className={classes.track}>
                  {lane.spans.map((s) => {
                    const x = portion(Date.parse(s.from), a, b);
                    const words = t.laneSpan(
                      lane.alertname,
                      clock(Date.parse(s.from), language),
                      clock(Date.parse(s.to), language),
                      s.alerts,
                    );
                    return (
                      <Tooltip key={s.from} label={words} events={{ hover: true, focus: true, touch: true }}>
                        <button
                          type="button"
                          aria-label={words}
                          className={classes.span}
                          data-mark={markOf(lane.severity ?? "")}
                          style={{
                            left: `min(${x}%, calc(100% - 4px))`,
                            width: `${portion(Date.parse(s.to), a, b) - x}%`,
                          }}
                        />
                      </Tooltip>
                    );
                  })}
                </div>
              </div>
            ))}
          </div>
          {data.left_out !== undefined && (
            <Text size="sm" c="dimmed" mt="xs">
              {t.moreLeft(data.left_out)}
            </Text>
          )}
        </Card>
      )}
    </Stack>
  );
}
