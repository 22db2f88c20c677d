// A certified OpenID provider, for the tests of the operators' sign-in. It prints its URL, then reads the
// gateway's URL from standard input, and ends with it. Whoever enters a name at its page is that person,
// in the group of this name.

import { createServer } from "node:http";
import { createInterface } from "node:readline";

import Provider from "oidc-provider";

const PAGE = `<!doctype html><html lang="en"><title>Issuer</title><main><h1>Issuer</h1>
<form method="post"><label>Name <input name="login"></label><button>Enter</button></form></main></html>`;

const server = createServer();
await new Promise((resolve) => { server.listen(0, "127.0.0.1", resolve); });
const url = `http://localhost:${server.address().port}`;
console.log(url);

function provider(gateway) {
  return new Provider(url, {
    clients: [{
      client_id: "gateway",
      client_secret: process.env.OIDC_SECRET,
      redirect_uris: [`${gateway}/sign-in/callback`],
      post_logout_redirect_uris: [`${gateway}/`],
    }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
    scopes: ["openid", "email", "groups"],
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (context, form) => {
          context.body = `<!doctype html><html lang="en"><title>Issuer</title><main><h1>Leave?</h1>${form}
            <button form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button></main></html>`;
        },
      },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    cookies: { keys: ["cookies of tests only"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, groups: [id, "everybody"] }),
    }),
    // Nobody is asked for consent.
    loadExistingGrant: async (context) => {
      const { client, session, provider: one } = context.oidc;
      const grant = new one.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope("openid email groups");
      await grant.save();
      return grant;
    },
  });
}

async function body(request) {
  let text = "";
  for await (const piece of request) text += piece;
  return new URLSearchParams(text);
}

const lines = createInterface({ input: process.stdin });
lines.once("line", (gateway) => {
  const issuer = provider(gateway);
  const serve = issuer.callback();
  server.on("request", async (request, response) => {
    if (!request.url.startsWith("/interaction/")) serve(request, response);
    else if (request.method === "GET") response.setHeader("Content-Type", "text/html").end(PAGE);
    else {
      const result = { login: { accountId: (await body(request)).get("login") } };
      await issuer.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    }
  });
  console.log("ready");
});
lines.on("close", () => process.exit());
