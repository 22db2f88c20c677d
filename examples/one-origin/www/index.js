// The token goes on to the other pages. What follows the # is sent to no server.
for (const link of document.links) link.hash = location.hash;
