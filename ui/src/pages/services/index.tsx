import { Route, Routes } from "react-router";
import { List } from "./List";
import { View } from "./View";

/** Services are what answers requests, as far as metrics tell. */
export default function Services() {
  return (
    <Routes>
      <Route index element={<List />} />
      <Route path=":name" element={<View />} />
    </Routes>
  );
}
