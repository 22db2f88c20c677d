import { heading, loading } from "./parts.js";
export const view = { topics: ["requests"], render() { return [heading("Requests"), loading()]; } };
