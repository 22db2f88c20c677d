import { heading, loading } from "./parts.js";
export const view = { topics: ["workers"], render() { return [heading("Now"), loading()]; } };
