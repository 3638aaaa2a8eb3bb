<?php
// Sends with PHPMailer and prints what an application gets.
foreach (['Exception', 'SMTP', 'PHPMailer'] as $class) {
    require "$argv[3]/$class.php";
}
$m = new PHPMailer\PHPMailer\PHPMailer(true);
$m->isSMTP();
[$m->Host, $m->Port, $m->SMTPAutoTLS] = ['127.0.0.1', (int) $argv[1], false];
$m->setFrom('app@example.com');
$m->addAddress($argv[2]);
[$m->Subject, $m->Body] = ['x', 'text'];
try {
    $m->send();
} catch (PHPMailer\PHPMailer\Exception $e) {
    echo get_class($e), ': ', $e->getMessage(), "\n", 'ErrorInfo: ', $m->ErrorInfo, "\n";
}
