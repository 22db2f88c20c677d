import { heading, loading } from "./parts.js";
export const view = { topics: [], render() { return [heading("Usage"), loading()]; } };
