-- unless: column expenses.k8s_service
ALTER TABLE expenses ADD COLUMN k8s_service Nullable(String)
