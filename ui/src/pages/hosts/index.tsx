import { Route, Routes } from "react-router";
import { List } from "./List";
import { View } from "./View";

/** Hosts are the machines that are measured. */
export default function Hosts() {
  return (
    <Routes>
      <Route index element={<List />} />
      <Route path=":name" element={<View />} />
    </Routes>
  );
}
