import { Route, Routes } from "react-router";
import { List } from "./List";
import { View } from "./View";

/** Dashboards are what people put together themselves. */
export default function Dashboards() {
  return (
    <Routes>
      <Route index element={<List />} />
      <Route path=":name" element={<View />} />
    </Routes>
  );
}
