import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Suspense, useState } from "react";
import { BrowserRouter, Route, Routes } from "react-router";
import { Refusal } from "./api/client";
import { SessionProvider } from "./api/session";
import { Loading, Trouble } from "./parts/states";
import { Layout } from "./shell/Layout";
import { NotThere } from "./shell/NotThere";
import { nonce } from "./shell/nonce";
import { Login, pages, Search } from "./shell/pages";
import { theme, variables } from "./shell/theme";
import { LanguageProvider } from "./text/text";

function newQueries() {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        // What the island refused it would refuse again.
        retry: (failures, error) => !(error instanceof Refusal) && failures < 2,
        refetchOnWindowFocus: true,
      },
    },
  });
}

export function App() {
  const [queries] = useState(newQueries);
  return (
    <MantineProvider
      theme={theme}
      cssVariablesResolver={variables}
      defaultColorScheme="auto"
      getStyleNonce={nonce}
    >
      <LanguageProvider>
        <QueryClientProvider client={queries}>
          <SessionProvider>
            <Notifications position="top-right" />
            <BrowserRouter>
              <Layout>
                <Trouble>
                  <Suspense fallback={<Loading />}>
                    <Routes>
                      {pages.map((p) => (
                        <Route
                          key={p.name}
                          path={p.path === "/" ? "/" : `${p.path}/*`}
                          element={<p.view />}
                        />
                      ))}
                      <Route path="/search" element={<Search />} />
                      <Route path="/login" element={<Login />} />
                      <Route path="*" element={<NotThere />} />
                    </Routes>
                  </Suspense>
                </Trouble>
              </Layout>
            </BrowserRouter>
          </SessionProvider>
        </QueryClientProvider>
      </LanguageProvider>
    </MantineProvider>
  );
}
