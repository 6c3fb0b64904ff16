import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./main.css";
import { setNonce } from "get-nonce";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { nonce } from "./shell/nonce";

// What locks scrolling behind dialogs writes a style element of its own.
setNonce(nonce());

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
createRoot(root).render(<App />);
