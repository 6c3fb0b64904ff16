import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";

/** The languages the page speaks. */
export const languages = ["en", "zh"] as const;
export type Language = (typeof languages)[number];

const key = "atoll.language";

/** preferred is what the person chose before, else what the browser asks for. */
export function preferred(stored: string | null, wanted: readonly string[]): Language {
  if (stored === "en" || stored === "zh") return stored;
  return wanted.some((w) => w.toLowerCase().startsWith("zh")) && !wanted[0]?.toLowerCase().startsWith("en")
    ? "zh"
    : "en";
}

type Setting = { language: Language; setLanguage: (l: Language) => void };
const LanguageContext = createContext<Setting>({ language: "en", setLanguage: () => {} });

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, set] = useState(() => preferred(localStorage.getItem(key), navigator.languages));
  useEffect(() => {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  }, [language]);
  const setting = useMemo(
    () => ({
      language,
      setLanguage: (l: Language) => {
        localStorage.setItem(key, l);
        set(l);
      },
    }),
    [language],
  );
  return <LanguageContext value={setting}>{children}</LanguageContext>;
}

export const useLanguage = () => useContext(LanguageContext);

type Message = string | Record<string, string> | ((...values: never[]) => string);
type Texts = Record<string, Message>;
/** Translated has the keys of T; what takes values there takes them here. */
type Translated<T extends Texts> = {
  [K in keyof T]: T[K] extends string
    ? string
    : T[K] extends Record<string, string>
      ? { [W in keyof T[K]]: string }
      : T[K];
};

/** texts declares what a view says in every language: English gives the keys, a key that Chinese lacks does not compile. */
export function texts<T extends Texts>(en: T, zh: Translated<T>): () => Translated<T> {
  const all = { en: en as Translated<T>, zh };
  return () => all[useLanguage().language];
}
