// Sends with nodemailer and prints what an application gets.
const nodemailer = require('nodemailer');

nodemailer.createTransport({ host: '127.0.0.1', port: Number(process.argv[2]), ignoreTLS: true })
  .sendMail({ from: 'app@example.com', to: process.argv[3], subject: 'x', text: 'text' })
  .then(info => console.log('sent:', info.response), e => console.log(`${e.code}: ${e.message}`));
