import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo } from "react";
import { type AnswerOf, ask, send, setCSRF } from "./client";

/** Session is who asks, as the island knows. */
export type Session = AnswerOf<"/api/atoll/v1/session">;

type Access = {
  session: Session | undefined;
  error: Error | null;
  may: (action: string) => boolean;
  signIn: (user: string, password: string) => Promise<void>;
  setUp: (code: string, user: string, password: string) => Promise<void>;
  signOut: () => Promise<void>;
};

const path = "/api/atoll/v1/session";
const AccessContext = createContext<Access | null>(null);

export function SessionProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const { data, error } = useQuery({
    queryKey: ["session"],
    queryFn: () => ask(path),
    staleTime: 60_000,
  });
  useEffect(() => setCSRF(data?.csrf ?? ""), [data?.csrf]);
  const access = useMemo<Access>(() => {
    // Whoever signs in or out sees other things than before.
    const renew = async () => {
      await queries.resetQueries();
    };
    return {
      session: data,
      error,
      may: (action) => data?.may.some((may) => may === action) ?? false,
      signIn: async (user, password) => {
        await send("POST", path, { user, password });
        await renew();
      },
      setUp: async (code, user, password) => {
        await send("POST", "/api/atoll/v1/setup", { code, user, password });
        await renew();
      },
      signOut: async () => {
        await send("DELETE", path);
        await renew();
      },
    };
  }, [data, error, queries]);
  return <AccessContext value={access}>{children}</AccessContext>;
}

export function useAccess(): Access {
  const access = useContext(AccessContext);
  if (access === null) throw new Error("useAccess outside of SessionProvider");
  return access;
}
