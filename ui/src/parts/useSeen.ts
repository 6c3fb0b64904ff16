import { useIntersection } from "@mantine/hooks";

/**
 * useSeen tells whether an element is in view, or so near that it soon may be: what
 * nobody sees asks nothing and draws nothing.
 */
export function useSeen() {
  const { ref, entry } = useIntersection({ rootMargin: "400px 0px" });
  return { ref, seen: entry?.isIntersecting ?? false };
}
