// The role of the operator. The gateway checks it at each request; here it only says what to offer.

const LEVELS = { viewer: 1, operator: 2, admin: 3 };
let level = 0;

export function setRole(role) {
  level = LEVELS[role] ?? 0;
}

/** Whether the operator has this role, or a higher one. */
export const may = (role) => level >= LEVELS[role];
