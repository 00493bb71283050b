const express = require("express");

const app = express();
app.get("/", (_, response) => response.send(`hello from Node.js ${process.versions.node}\n`));
app.listen(process.env.PORT);
